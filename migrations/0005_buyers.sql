-- The address that bought a login, which alone may change it; null where the operator registered it.
alter table projection.subscriber add column owner text collate "C";

-- What buyers were told, by the time it was recorded: what is still to be told is read at every start.
create index event_answer on event_log.event (recorded_at) where kind = 'answer_announced';
