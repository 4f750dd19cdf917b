"""Parameters of statements that are made once, since to put one together takes longer than to run it.

Such a statement stands in its module, or is kept by the few shapes it has, and gets its values by name (`core.statements.fetch`).
"""

from datetime import datetime

from sqlalchemy import BindParameter, Integer, bindparam

from app.models.base import BigId, UtcDateTime

# The person who asks, the deal they ask about, and the time at which access is decided.
USER_ID: BindParameter[int] = bindparam("user_id", type_=BigId)
DEAL_ID: BindParameter[int] = bindparam("deal_id", type_=BigId)
NOW: BindParameter[datetime] = bindparam("now", type_=UtcDateTime())
# How many rows at most.
ROWS: BindParameter[int] = bindparam("rows", type_=Integer())
