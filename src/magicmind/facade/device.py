"""The device that programs ask for: this machine's CPU."""

from __future__ import annotations

from magicmind.facade.status import Code, Refused, Status, guarded, or_none

DEVICES = 1
"""How many there are: all cores of the machine together are one."""


class Queue:
    """Calls run when they are enqueued, so there is never anything to wait for."""

    def sync(self) -> Status:
        """OK: what was enqueued is done."""
        return Status.OK()


class Device:
    """`id` chooses a device; programs may set further attributes."""

    def __init__(self) -> None:
        self.id = 0

    @guarded
    def active(self) -> None:
        """Makes the device the current one."""
        if not isinstance(self.id, int) or not 0 <= self.id < DEVICES:
            raise Refused(f"there is no device {self.id!r}: this machine has {DEVICES}, number 0", Code.NOT_FOUND)

    @or_none
    def create_queue(self) -> Queue:
        """A queue for `Context.enqueue`."""
        return Queue()


class System:
    """What programs enter before they use a device; nothing made inside ends with it."""

    def __enter__(self) -> System:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def device_count(self) -> int:
        """The number of devices."""
        return DEVICES

    def initialize(self) -> Status:
        """Nothing has to be prepared."""
        return Status.OK()

    def destory(self) -> Status:
        """As programs spell it."""
        return Status.OK()

    destroy = destory
