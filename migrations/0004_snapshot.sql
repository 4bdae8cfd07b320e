-- What the log had amounted to after some of its events, so that a past instant need not be folded
-- from the first event on. Everything here can be thrown away: engines make it again. It holds no
-- name of a person and nothing that only a key could read.
create schema snapshot;

create table snapshot.taken (
    version         integer not null,   -- of the form and the folds; others are ignored
    position        bigint not null check (position >= 1),
    previous        bigint not null check (previous >= 0 and previous < position),   -- 0: none
    frontier        bytea not null,     -- 32 bytes for each subtree of the hash tree
    payments_sha256 bytea not null check (octet_length(payments_sha256) = 32),
    state_sha256    bytea not null check (octet_length(state_sha256) = 32),
    seal            bytea not null check (octet_length(seal) = 32),   -- over all of it
    taken_at        timestamptz not null default now(),
    primary key (version, position)
);

-- Payments that were applied since the snapshot before, and the state without them, in pieces.
create table snapshot.part (
    version  integer not null,
    position bigint not null,
    holds    text collate "C" not null check (holds in ('payments', 'state')),
    number   integer not null check (number >= 0),
    bytes    bytea not null,
    primary key (version, position, holds, number)
);
alter table snapshot.part alter column bytes set storage external;   -- hashes do not shrink

grant usage on schema snapshot to tanglegate_writer, tanglegate_reader;
grant select, insert, delete on snapshot.taken, snapshot.part to tanglegate_writer;
grant select on snapshot.taken, snapshot.part to tanglegate_reader;
