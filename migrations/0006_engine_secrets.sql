-- What the engine signs and opens with, wrapped under the master key, which is not in here.
create table vault.engine_secret (
    name          text collate "C" primary key,   -- 'identity', or 'sealing/' and the secret's id
    wrapped       bytea not null check (octet_length(wrapped) between 41 and 1024),
    offered_until timestamptz,                    -- keys are made from it until then
    valid_until   timestamptz                     -- what is paid by then is opened with it
);

grant select, insert, delete on vault.engine_secret to tanglegate_writer;
