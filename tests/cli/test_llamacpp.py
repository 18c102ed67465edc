"""`tascel profile` in llama-cpp-python. Run with `make test-llamacpp`."""

import pytest

pytestmark = pytest.mark.llamacpp


def test_profile_measures_and_says_where(toy_gguf, tascel, monkeypatch, tmp_path):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path))
    given = ["profile", "--engine", "llamacpp", "-m", toy_gguf]
    code, out, _ = tascel(*given, "--", "n_ctx=256", "n_threads=1", "n_threads_batch=1")
    assert code == 0
    assert "tokens" in out
    assert "kept in" in out
    (kept,) = (tmp_path / "prices").iterdir()
    assert kept.name in out
    for more, said in (
        (("--fast",), "--fast is not for llama.cpp"),
        (("--", "threads"), "threads is no option"),
        (("--", "wings=2"), "wings"),
    ):
        code, _, err = tascel(*given, *more)
        assert code == 1
        assert said in err
    monkeypatch.setattr("llama_cpp.llama_cpp.llama_model_is_recurrent", lambda _: True)
    code, _, err = tascel(*given)
    assert code == 1
    assert "recurrent" in err
