-- The append-only event log. Nothing here is ever updated or deleted: privileges forbid it to
-- the writer, triggers forbid it to everyone else, and every row is covered by a hash tree.

do $$
declare
    role_name text;
begin
    foreach role_name in array array['tanglegate_writer', 'tanglegate_reader'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            begin
                execute format('create role %I nologin', role_name);
            exception
                when duplicate_object or unique_violation then null;
                when insufficient_privilege then
                    raise exception 'role % does not exist and % may not create it; as a '
                        'superuser: create role % nologin; grant % to %;',
                        role_name, current_user, role_name, role_name, current_user;
            end;
        end if;
        if not pg_has_role(current_user, role_name, 'member') then
            execute format('grant %I to current_user', role_name);
        end if;
    end loop;
end $$;

create schema event_log;

-- One row per commit. Each size can be extended once, so the log cannot fork, whoever writes.
create table event_log.batch (
    size          bigint primary key check (size >= 0),
    previous_size bigint unique references event_log.batch (size),
    root          bytea not null check (octet_length(root) = 32),
    node          text not null,
    committed_at  timestamptz not null,
    check ((size = 0) = (previous_size is null)),
    check (previous_size < size)
);

-- The tree of no events: SHA-256 of nothing (RFC 6962 §2.1).
insert into event_log.batch values (0, null, sha256(''), 'genesis', 'epoch');

create table event_log.event (
    position        bigint primary key check (position >= 1),
    stream          text collate "C" not null check (octet_length(stream) <= 255),
    version         bigint not null check (version >= 1),
    kind            text collate "C" not null check (octet_length(kind) <= 63),
    schema_version  smallint not null check (schema_version >= 1),
    idempotency_key bytea check (octet_length(idempotency_key) between 1 and 64),
    recorded_at     timestamptz not null,
    correlation     uuid,
    causation       bigint check (causation < position),
    meta            bytea not null,
    body            bytea not null,
    leaf            bytea not null check (octet_length(leaf) = 32),
    unique (stream, version)
) with (autovacuum_vacuum_insert_scale_factor = 0.02);

create unique index event_idempotency_key on event_log.event (idempotency_key)
    where idempotency_key is not null;

create function event_log.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the event log is append-only: % on %.% is refused',
        tg_op, tg_table_schema, tg_table_name using errcode = 'feature_not_supported';
end $$;

create trigger append_only before update or delete or truncate on event_log.event
    for each statement execute function event_log.refuse_change();
create trigger append_only before update or delete or truncate on event_log.batch
    for each statement execute function event_log.refuse_change();

-- The log ends where the newest batch does: nothing is appended that no batch announces. And
-- nothing is put between, since the batches before are complete and positions are unique.
create function event_log.refuse_stray() returns trigger language plpgsql as $$
begin
    if (select max(position) from event_log.event) > (select max(size) from event_log.batch) then
        raise exception 'events up to % are not the batch up to %',
            (select max(position) from event_log.event), (select max(size) from event_log.batch)
            using errcode = 'check_violation';
    end if;
    return null;
end $$;

create trigger no_stray after insert on event_log.event
    for each statement execute function event_log.refuse_stray();

-- A batch is complete when its transaction commits: as many events as it announces, after the
-- batch before. The plan is always the walk along the primary key.
create function event_log.refuse_gap() returns trigger language plpgsql
    set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
as $$
declare
    number bigint;
begin
    select count(*) into number from event_log.event
        where position > new.previous_size and position <= new.size;
    if number = 0 then
        raise exception 'batch up to % was announced without its events', new.size
            using errcode = 'check_violation';
    elsif number <> new.size - new.previous_size then
        raise exception '% events after % are not the batch up to %',
            number, new.previous_size, new.size using errcode = 'check_violation';
    end if;
    return null;
end $$;

create constraint trigger no_gap after insert on event_log.batch
    deferrable initially deferred
    for each row execute function event_log.refuse_gap();

-- Keys under which personal data in event bodies is sealed. Not part of the log: destroying a
-- row is how a person is erased.
create schema vault;

create table vault.subject_key (
    subject bytea primary key check (octet_length(subject) = 16),
    purpose text not null check (purpose in ('subscriber', 'memo')),
    key     bytea not null check (octet_length(key) = 32)
);

grant usage on schema event_log to tanglegate_writer, tanglegate_reader;
grant select, insert on event_log.event, event_log.batch to tanglegate_writer;
grant select on event_log.event, event_log.batch to tanglegate_reader;
grant usage on schema vault to tanglegate_writer;
grant select, insert, delete on vault.subject_key to tanglegate_writer;
