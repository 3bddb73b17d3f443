"""The bounded queue between a thread that captures and the generator of a source."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Handoff(Generic[Item]):
    """First in, first out; one thread gives, one takes. What was given before ``close`` can still be taken."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def offer(self, item: Item) -> bool:
        """Append ``item`` without waiting; False when there is no room or it is closed."""
        with self._changed:
            if self._closed or len(self._items) >= self._capacity:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def put(self, item: Item) -> bool:
        """Append ``item`` once there is room; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float | None = None) -> Item | None:
        """The next item, waiting for one; None when closed and empty, or after ``timeout_s``."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items, timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Nothing more comes: release whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
