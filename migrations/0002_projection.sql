-- What the events amount to. Every table here can be thrown away and rebuilt from the log; the
-- engine writes them in the transaction that appends the events.

create schema projection;

-- Which version of each fold wrote the tables, and up to which event.
create table projection.cursor (
    name     text collate "C" primary key,
    version  integer not null,
    position bigint not null
);

-- Who may do what: the current access table. Ended leases stay until they are renewed.
create table projection.access (
    holder    text collate "C" not null,   -- a subscriber, or 'everyone'
    filter    text collate "C" not null,
    access    text collate "C" not null check (access in ('read', 'write', 'readwrite')),
    source    text collate "C" not null,   -- 'lease', or 'rule/' and the rule's identity
    starts_at timestamptz not null,
    ends_at   timestamptz,                 -- exclusive; null: no end
    position  bigint not null,
    primary key (holder, filter, access, source)
);
create unique index access_rule on projection.access (source) where source <> 'lease';

create table projection.subscriber (
    subscriber text collate "C" primary key,
    username   text collate "C" not null unique,
    suspended  boolean not null,
    credit     numeric(20) not null check (credit >= 0),   -- NANOS on account
    position   bigint not null
);

create table projection.payment (
    digest       text collate "C" not null,   -- base58, as wallets show it
    index        integer not null,
    seller       text collate "C" not null,
    payer        text collate "C" not null,
    amount       numeric(20) not null check (amount > 0),   -- NANOS
    checkpoint   numeric(20) not null,
    confirmed_at timestamptz not null,        -- by the ledger's clock
    recorded_at  timestamptz not null,        -- by the log's clock
    state        text collate "C" not null check (state in ('confirmed', 'applied', 'unmatched')),
    reason       text collate "C",            -- why it is unmatched
    subscriber   text collate "C",
    offer        text collate "C",
    spent        numeric(20),                 -- NANOS that bought time
    credit       numeric(20),                 -- NANOS on account afterwards
    position     bigint not null,
    primary key (digest, index)
);
create index payment_unmatched on projection.payment (recorded_at) where state = 'unmatched';

create table projection.offer (
    offer       text collate "C" primary key,
    seller      text collate "C" not null,
    filter      text collate "C" not null,
    access      text collate "C" not null,
    price       numeric(20) not null,         -- NANOS per period
    period_ms   numeric(20) not null,
    least       numeric(20) not null,         -- least purchase in NANOS
    ends_at     timestamptz,                  -- exclusive end of the sale; null: none
    withdrawn   boolean not null,
    position    bigint not null
);

create table projection.ledger_cursor (
    chain      text collate "C" not null,
    seller     text collate "C" not null,
    checkpoint numeric(20) not null,
    position   bigint not null,
    primary key (chain, seller)
);

-- For people at a psql prompt: who may do what right now, by name.
create view projection.access_now as
    select coalesce(subscriber.username, access.holder) as who, access.filter, access.access,
        access.source, access.ends_at
    from projection.access
        left join projection.subscriber on subscriber.subscriber = access.holder
    where (access.ends_at is null or access.ends_at > now()) and not coalesce(suspended, false);

grant usage on schema projection to tanglegate_writer, tanglegate_reader;
grant select, insert, update, delete, truncate on all tables in schema projection to tanglegate_writer;
grant select on all tables in schema projection to tanglegate_reader;
