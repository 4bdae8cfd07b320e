//! What a connection and the engine tell each other: keys that were made for this client, and the
//! answers to them.

use super::connected::Connection;
use crate::correspondence::{
    CREDENTIAL, Correspondence, Inbox, KEY, KeyId, KeyNews, KeyTopic, REQUEST, answers_to,
    key_topic,
};
use crate::outbox::Outbox;
use crate::rate::{Bucket, Rate};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tanglegate_core::{Timestamp, TopicFilter};

/// Keys of its own whose answers a connection is told: the last ones.
const OWN_KEYS: usize = 4;
/// Keys of which a client may ask for the answers by their names, at the same time.
pub(super) const WATCHED: usize = 8;
/// How often one connection has a key made. Each takes some 60 µs.
const KEYS: Rate = Rate {
    per_second: 1,
    burst: 4,
};
/// What it costs to listen for the answers to one key, with the gate's own tables.
const EAR: usize = 160;
/// What a conversation costs besides.
const CONVERSATION: usize = 512;

/// Begun when a client first asks for a key or for answers.
#[derive(Debug)]
pub(super) struct Conversation {
    correspondence: Correspondence,
    place: u64,
    inbox: Arc<Inbox>,
    /// The keys that the client was given, the newest last.
    own: VecDeque<Ear>,
    /// What it was told of the newest one.
    key: Option<Key>,
    made: Bucket,
    asked: Bucket,
    /// The keys that it has named.
    watched: Vec<Ear>,
    /// The generation of keys that it was told.
    generation: u64,
    /// It has subscribed to its key.
    asked_for_key: bool,
    /// There may be something to tell.
    pending: bool,
}

/// A key whose answers are told.
#[derive(Debug)]
struct Ear {
    key: KeyId,
    /// Number of the last answer that was told.
    told: u64,
    /// Number of the last answer that was there when the client subscribed: up to here they are
    /// told as retained.
    retained: u64,
}

#[derive(Debug)]
struct Key {
    payload: Arc<[u8]>,
    /// A quarter of its life is left then.
    renew_at: Timestamp,
    valid_until: Timestamp,
}

impl Ear {
    fn new(key: KeyId) -> Self {
        Self {
            key,
            told: 0,
            retained: 0,
        }
    }

    /// From the beginning, as for a new subscription; `last` is the last answer of all.
    fn begin(&mut self, last: u64) {
        (self.told, self.retained) = (0, last);
    }
}

impl Key {
    fn new(news: KeyNews, now: Timestamp) -> Self {
        let life = news.valid_until.millis_since(now);
        Self {
            payload: news.payload,
            renew_at: now.plus_millis(life - life / 4),
            valid_until: news.valid_until,
        }
    }
}

impl Conversation {
    fn begin(correspondence: &Correspondence, outbox: &Arc<Outbox>) -> Self {
        let inbox = Arc::new(Inbox::new(Arc::clone(outbox)));
        Self {
            correspondence: correspondence.clone(),
            place: correspondence.enter(&inbox),
            inbox,
            own: VecDeque::new(),
            key: None,
            made: Bucket::default(),
            asked: Bucket::default(),
            watched: vec![],
            generation: correspondence.generation(),
            asked_for_key: false,
            pending: true,
        }
    }

    /// True when something has come that was not looked at.
    pub(super) fn has_news(&self) -> bool {
        self.pending || self.inbox.has_news()
    }

    /// Bytes that it makes the gate hold.
    pub(super) fn cost(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |it| it.payload.len());
        let ears = (self.own.len() + self.watched.len()) * EAR;
        CONVERSATION + key + ears + self.inbox.open() * REQUEST
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// The last key that the client was given.
    pub(super) fn key_id(&self) -> Option<KeyId> {
        self.own.back().map(|it| it.key)
    }

    /// Counts a request, if the client may make one now.
    pub(super) fn may_ask(&mut self, rate: Rate, now: Instant) -> bool {
        self.asked.take(rate, 1, now)
    }

    /// What the client is told of its key at `now`: the same as long as it is good, then a new
    /// one; `None` when there is none.
    fn key_at(&mut self, now: Timestamp, instant: Instant) -> Option<Arc<[u8]>> {
        let generation = self.correspondence.generation();
        let replaced = generation != self.generation;
        let known = self.key.as_ref().filter(|_| !replaced);
        if let Some(key) = known.filter(|it| now < it.renew_at) {
            return Some(Arc::clone(&key.payload));
        }
        // How often all are replaced is not the client's doing.
        if !replaced && !self.made.take(KEYS, 1, instant) {
            let key = known.filter(|it| now < it.valid_until)?;
            return Some(Arc::clone(&key.payload));
        }
        let news = self.correspondence.make_key(now)?;
        self.generation = generation;
        self.correspondence.listen(self.place, news.key_id);
        self.own.push_back(Ear::new(news.key_id));
        if self.own.len() > OWN_KEYS
            && let Some(oldest) = self.own.pop_front()
        {
            self.stop_unless_needed(&oldest.key);
        }
        let key = self.key.insert(Key::new(news, now));
        Some(Arc::clone(&key.payload))
    }

    fn watch(&mut self, key: KeyId, retained: bool) {
        if !self.watched.iter().any(|it| it.key == key) {
            self.correspondence.listen(self.place, key);
            self.watched.push(Ear::new(key));
        }
        let watched = self.watched.iter_mut().find(|it| it.key == key);
        if let Some(ear) = watched.filter(|_| retained) {
            ear.begin(self.correspondence.last_answer());
        }
        self.pending = true;
    }

    fn unwatch(&mut self, key: &KeyId) {
        self.watched.retain(|it| it.key != *key);
        self.stop_unless_needed(key);
    }

    fn stop_unless_needed(&self, key: &KeyId) {
        if !self
            .own
            .iter()
            .chain(&self.watched)
            .any(|it| it.key == *key)
        {
            self.correspondence.stop(self.place, key);
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let keys = self.own.iter().chain(&self.watched).map(|it| &it.key);
        self.correspondence.leave(self.place, keys);
    }
}

impl Connection {
    pub(super) fn conversation(&mut self) -> &mut Conversation {
        let (context, outbox) = (&self.attached.context, &self.attached.handle.outbox);
        let begin = || Conversation::begin(&context.correspondence, outbox);
        self.conversation.get_or_insert_with(|| Box::new(begin()))
    }

    /// The client has subscribed, and wants what is retained: its key, or answers to its keys.
    pub(super) fn ask_for_letters(&mut self, filter: &TopicFilter) {
        if filter.matches(KEY) {
            let conversation = self.conversation();
            (conversation.asked_for_key, conversation.pending) = (true, true);
        }
        if filter.matches(CREDENTIAL)
            && let Some(conversation) = &mut self.conversation
        {
            let last = conversation.correspondence.last_answer();
            conversation.own.iter_mut().for_each(|it| it.begin(last));
            conversation.pending = true;
        }
    }

    /// True when the client may name one more key, or has named this one.
    pub(super) fn may_watch(&self, key: &KeyId) -> bool {
        let watched = self.conversation.as_ref().map_or(&[][..], |it| &it.watched);
        watched.len() < WATCHED || watched.iter().any(|it| it.key == *key)
    }

    /// The client has subscribed to the answers to a key.
    pub(super) fn watch(&mut self, key: KeyId, retained: bool) {
        self.conversation().watch(key, retained);
    }

    /// It has unsubscribed.
    pub(super) fn unwatch(&mut self, key: &KeyId) {
        if let Some(conversation) = &mut self.conversation {
            conversation.unwatch(key);
        }
    }

    /// A session that goes on has named keys in earlier connections: what has come meanwhile is
    /// told.
    pub(super) fn watch_again(&mut self) {
        let handle = self.handle();
        let key_of = |filter: &TopicFilter| match key_topic(filter.as_str()) {
            KeyTopic::Of(key) => Some(key),
            _ => None,
        };
        for key in handle.shard.subscriptions_of(handle.slot, key_of) {
            self.watch(key, false);
        }
    }

    /// Tells the client what it has subscribed to and was not told; one answer to each key in a
    /// turn, so that what is written at once has a bound.
    pub(super) fn tell_letters(&mut self) {
        let Some(mut conversation) = self.conversation.take_if(|it| it.has_news()) else {
            return;
        };
        conversation.inbox.look();
        conversation.pending = false;
        self.tell_replies(&conversation);
        self.tell_key(&mut conversation);
        self.tell_own_answers(&mut conversation);
        self.tell_watched(&mut conversation);
        self.conversation = Some(conversation);
    }

    fn tell_key(&mut self, it: &mut Conversation) {
        let replaced = it.generation != it.correspondence.generation();
        let asked = std::mem::take(&mut it.asked_for_key);
        if !asked && !replaced {
            return;
        }
        let Some(ids) = self.listens(KEY) else {
            return;
        };
        if let Some(payload) = it.key_at(self.now(), Instant::now()) {
            self.push_news(KEY, &payload, asked, &ids);
        }
    }

    fn tell_own_answers(&mut self, it: &mut Conversation) {
        if it.own.is_empty() {
            return;
        }
        let Some(ids) = self.listens(CREDENTIAL) else {
            return;
        };
        for ear in &mut it.own {
            it.pending |= self.tell_answer(&it.correspondence, ear, CREDENTIAL, &ids);
        }
    }

    fn tell_watched(&mut self, it: &mut Conversation) {
        for ear in &mut it.watched {
            let topic = answers_to(&ear.key);
            if let Some(ids) = self.listens(&topic) {
                it.pending |= self.tell_answer(&it.correspondence, ear, &topic, &ids);
            }
        }
    }

    /// Tells the next answer to a key; true when there are more.
    fn tell_answer(
        &mut self,
        correspondence: &Correspondence,
        ear: &mut Ear,
        topic: &str,
        ids: &[u32],
    ) -> bool {
        let answers = correspondence.answers(&ear.key, ear.told, self.now());
        if let Some((number, payload)) = answers.first() {
            ear.told = *number;
            self.push_news(topic, payload, *number <= ear.retained, ids);
        }
        answers.len() > 1
    }
}
