"""One story with Eclipse Paho, unmodified. The argument is one JSON object:
     {"port", "transport": "tcp" | "websocket", "authority"?: file, "version": 4 | 5}
What was seen is printed as one more."""

import json
import sys
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

wanted = json.loads(sys.argv[1])
FIVE = wanted["version"] == 5
seen = {}


class Client:
    def __init__(self, name, keep=False, password="ana", will=None):
        session = {} if FIVE else {"clean_session": not keep}
        # Since version 2, Paho wants to know for which version its callbacks were written.
        if hasattr(paho, "CallbackAPIVersion"):
            session["callback_api_version"] = paho.CallbackAPIVersion.VERSION1
        self.client = paho.Client(
            client_id=name,
            protocol=paho.MQTTv5 if FIVE else paho.MQTTv311,
            transport="tcp" if wanted["transport"] == "tcp" else "websockets",
            **session,
        )
        self.changed = threading.Condition()
        self.messages, self.answer, self.codes, self.sent = [], None, None, set()
        self.client.username_pw_set("ana", password)
        if "authority" in wanted:
            self.client.tls_set(ca_certs=wanted["authority"])
        if will:
            self.client.will_set(will, "gone", qos=1)
        self.client.on_connect = lambda _c, _u, flags, code, *_: self.note(
            answer=(int(getattr(code, "value", code)), bool(flags["session present"]))
        )
        self.client.on_subscribe = lambda _c, _u, _m, codes, *_: self.note(
            codes=[int(getattr(it, "value", it)) for it in codes]
        )
        self.client.on_message = lambda _c, _u, it: self.heard(it)
        self.client.on_publish = lambda _c, _u, number: self.note(sent=self.sent | {number})
        options = {}
        if FIVE:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 60 if keep else 0
            options = {"clean_start": not keep, "properties": properties}
        self.client.connect("localhost", wanted["port"], **options)
        self.client.loop_start()
        self.wait(lambda: self.answer)

    def note(self, **facts):
        with self.changed:
            self.__dict__.update(facts)
            self.changed.notify_all()

    def heard(self, it):
        with self.changed:
            payload = it.payload.decode()
            message = dict(topic=it.topic, payload=payload, qos=it.qos, retain=bool(it.retain))
            numbers = getattr(getattr(it, "properties", None), "SubscriptionIdentifier", [])
            if numbers:
                message["subscriptions"] = numbers
            self.messages.append(message)
            self.changed.notify_all()

    def wait(self, what):
        with self.changed:
            if not self.changed.wait_for(what, timeout=20):
                raise TimeoutError("nothing came")
            return what()

    def subscribe(self, *filters, qos=1, number=None, **options):
        self.codes, more = None, {}
        if number:
            more["properties"] = Properties(PacketTypes.SUBSCRIBE)
            more["properties"].SubscriptionIdentifier = number
        self.client.subscribe([(it, qos) for it in filters] if not FIVE else
                              [(it, SubscribeOptions(qos=qos, **options)) for it in filters], **more)
        return self.wait(lambda: self.codes)

    def publish(self, topic, payload, qos=1, retain=False):
        number = self.client.publish(topic, payload, qos=qos, retain=retain).mid
        self.wait(lambda: number in self.sent)

    def message(self, topic):
        found = lambda: next((it for it in self.messages if it["topic"] == topic), None)
        message = self.wait(found)
        self.messages.remove(message)
        return message

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


main = Client("main")
seen["codes"] = main.subscribe("own/#", "sensor/live", "secret")
main.publish("own/zero", "0", qos=0)
main.publish("own/one", "1")
main.publish("own/large", "x" * 300_000)
seen["zero"], seen["one"] = main.message("own/zero"), main.message("own/one")
seen["large"] = len(main.message("own/large")["payload"])

main.publish("own/kept", "kept", retain=True)
late = Client("late")
late.subscribe("own/kept")
seen["kept"] = late.message("own/kept")
main.publish("own/kept", "", retain=True)

lost = Client("lost", will="own/will")
lost.client.loop_stop()
lost.client.socket().close()
lost.client._sock = None
seen["will"] = main.message("own/will")

away = Client("away", keep=True)
seen["fresh"] = away.answer[1]
away.subscribe("own/away", qos=2)
away.end()
# It comes back and hears what it missed, and what it subscribed to before.
main.publish("own/away", "missed", qos=1)
main.publish("own/away", "missed too", qos=2)
away = Client("away", keep=True)
seen["present"] = away.answer[1]
seen["missed"] = [away.message("own/away"), away.message("own/away")]
main.publish("own/away", "later")
seen["later"] = away.message("own/away")
away.end()
forgotten = Client("away")
seen["forgotten"] = forgotten.answer[1]

exact = Client("exact")
exact.subscribe("own/exact", qos=2)
for number in range(20):
    exact.publish("own/exact", str(number), qos=2)
seen["exact"] = [exact.message("own/exact")["payload"] for _ in range(20)]
exact.publish("own/exact", "twice", qos=2)
seen["twice"] = exact.message("own/exact")

pair = [Client("one"), Client("two")]
for member in pair:
    member.subscribe("$share/pair/own/shared")
for number in range(20):
    main.publish("own/shared", str(number))
# Who sees the last one of its own has seen all before it.
for member in pair:
    member.subscribe("own/last")
main.publish("own/last", "")
for member in pair:
    member.message("own/last")
seen["shared"] = sorted(int(it["payload"]) for member in pair for it in member.messages)

if FIVE:
    main.publish("own/picky", "kept", retain=True)
    picky = Client("picky")
    picky.subscribe("own/picky", number=7, noLocal=True, retainAsPublished=True, retainHandling=2)
    picky.publish("own/picky", "its own")
    main.publish("own/picky", "another", retain=True)
    seen["picky"] = picky.message("own/picky")
    main.publish("own/picky", "", retain=True)
    picky.end()

stranger = Client("stranger", password="wrong")
seen["refused"] = stranger.answer[0]
stranger.client.loop_stop()

for client in (main, late, forgotten, exact, *pair):
    client.end()
print(json.dumps(seen))
