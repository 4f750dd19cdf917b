"""Holdfast, a deal workspace in which you never lose your place.

asgi.py, cli.py, factory.py, resources.py   entry points and the composition root
__main__.py             python -m app
core/                   settings, time, errors, logs, metrics; connections to SQL and Redis
models/                 the tables
events/                 the audit trail and its stream
sessions/               sessions that survive Redis, restarts and servers; knows nothing of deals
access/                 who may see a deal
jobs/                   the queue of jobs
server/                 connections: the port, limits in front of the app, shutdown
http/                   what all routes share: access, JSON, errors, headers, uploads, event streams
current_deal/           the promise: the deal a person works on, selected, restored, swept
auth/                   logins, passwords, people
drafts/                 what is typed and not saved yet
history/                what a thing said before, how two texts differ, and how three become one
deals/                  deals, members, lists
work/                   what the things inside a deal have in common
findings/, checklist/   the two kinds of them
notices/                what people are told, live and until they read it
imports/, exports/      spreadsheets in and out
admin/                  the people of an organisation
pages/                  what a person sees; pages/kit has what all pages share
ops/                    what an operator sees
demo/, dev/             the demo data; `make run`
"""
