-- Signed tree heads, kept beside the log they sign. The note is the truth; size and root are taken
-- from it so that the database can hold them to the batch.
create table event_log.tree_head (
    size      bigint primary key references event_log.batch (size),
    note      text collate "C" not null check (octet_length(note) <= 4096),
    signed_at timestamptz not null
);

create trigger append_only before update or delete or truncate on event_log.tree_head
    for each statement execute function event_log.refuse_change();

grant select, insert on event_log.tree_head to tanglegate_writer;
grant select on event_log.tree_head to tanglegate_reader;

-- Whom sealed data is about when it has a key of its own: with the person it goes.
alter table vault.subject_key add column owner bytea check (octet_length(owner) = 16);
create index subject_key_owner on vault.subject_key (owner) where owner is not null;

-- A person who was forgotten keeps an account and has no name.
alter table projection.subscriber
    alter column username drop not null,
    add column erased boolean not null default false;

-- What one command led to: an audit goes from any event to its cause and to what followed.
create index event_causation on event_log.event (causation) where causation is not null;
