"""What every peer serves: as many deals as a person has at Holdfast, each as the card that a session holds."""

from typing import Any

DEALS = range(1, 61)


def card(deal_id: int) -> dict[str, Any]:
    """The same keys and about the same bytes as Holdfast's."""
    return {
        "id": deal_id,
        "name": f"Northgate acquires Tollbridge {deal_id}",
        "acquirer": "Northgate",
        "stage": "diligence",
        "status": "Pending",
        "role": "editor",
        "archived": False,
        "expires_at": None,
    }
