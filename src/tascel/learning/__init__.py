"""Learning online: finished answers become drafts, and files of the bundle."""

from tascel.learning.config import LearnConfig, LearnStats
from tascel.learning.draft import LearningDraft
from tascel.learning.learner import Learner

__all__ = ["LearnConfig", "LearnStats", "Learner", "LearningDraft"]
