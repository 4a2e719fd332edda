"""Devices and queues."""

from magicmind.facade.device import Device, Queue, System

__all__ = ["Device", "Queue", "System"]
