"""Many jobs at once: in this process, in several, or on a Ray cluster.

Results are files in one folder, so it does not matter who made them, and what a run that was killed
has made already is not made again. Knows nothing of what the jobs do.
"""

from tascel.workers.crew import Crew as Crew
from tascel.workers.crew import checked as checked
from tascel.workers.task import Tick as Tick
