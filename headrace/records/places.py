"""A set of places on topics, for as many records as a file or topic has. Pure."""

from headrace_client.wire.names import Place

_PAGE_PLACES = 8192


class PlaceSet:
    """Holds a bit for each offset near a member: a thousand records that follow take 1 KiB."""

    def __init__(self) -> None:
        self._pages: dict[tuple[str, int, int], int] = {}
        self._places = 0

    def __len__(self) -> int:
        return self._places

    def __contains__(self, place: Place) -> bool:
        page, bit = _find(place)
        return bool(self._pages.get(page, 0) & bit)

    def add(self, place: Place) -> bool:
        """Return whether it was not there yet."""
        page, bit = _find(place)
        bits = self._pages.get(page, 0)
        if bits & bit:
            return False
        self._pages[page] = bits | bit
        self._places += 1
        return True

    def discard(self, place: Place) -> bool:
        """Return whether it was there; what becomes empty takes no memory."""
        page, bit = _find(place)
        bits = self._pages.get(page, 0)
        if not bits & bit:
            return False
        if bits == bit:
            del self._pages[page]
        else:
            self._pages[page] = bits ^ bit
        self._places -= 1
        return True


def _find(place: Place) -> tuple[tuple[str, int, int], int]:
    page, position = divmod(place.offset, _PAGE_PLACES)
    return (place.topic, place.partition, page), 1 << position
