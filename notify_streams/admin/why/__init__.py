"""What became of a trigger: the whole story, over all regions."""

from notify_streams.admin.why.ask import By, Question, ask
from notify_streams.admin.why.places import with_places
from notify_streams.admin.why.story import Story
from notify_streams.admin.why.words import story_lines

__all__ = ["By", "Question", "Story", "ask", "story_lines", "with_places"]
