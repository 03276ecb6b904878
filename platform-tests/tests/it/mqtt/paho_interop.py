"""What Paho's interoperability tests check, on topics of devices. `paho_interop.py CHECK ADDR TOKEN`."""

import json
import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT = 30
BOTH = ((mqtt.MQTTv311, "v3"), (mqtt.MQTTv5, "v5"))


class Client:
    """A connection whose messages and answers stand in queues. `manual`: nothing is acknowledged."""

    def __init__(self, name, version, clean=True, will=None, keepalive=60, manual=False):
        options = {"client_id": name, "protocol": version, "manual_ack": manual}
        if version != mqtt.MQTTv5:
            options["clean_session"] = clean
        self.version, self.clean, self.keepalive = version, clean, keepalive
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, **options)
        self.paho.username_pw_set("machine", TOKEN)
        self.heard, self.subscribed = queue.Queue(), queue.Queue()
        self.connected, self.gone = queue.Queue(), threading.Event()
        self.paho.on_message = lambda c, u, m: self.heard.put(m)
        self.paho.on_subscribe = lambda c, u, mid, codes, p: self.subscribed.put([code.value for code in codes])
        self.paho.on_connect = lambda c, u, flags, code, p: self.connected.put((flags.session_present, code, p))
        self.paho.on_disconnect = lambda c, u, flags, code, p: self.gone.set()
        if will:
            self.paho.will_set(*will)
        host, port = ADDR.rsplit(":", 1)
        more = {}
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            more = {"clean_start": clean, "properties": properties}
        self.paho.connect(host, int(port), keepalive, **more)
        self.paho.loop_start()
        self.present, code, self.properties = self.connected.get(timeout=WAIT)
        assert not code.is_failure, code

    def subscribe(self, *filters):
        self.paho.subscribe([(topic, qos) for topic, qos in filters])
        return self.subscribed.get(timeout=WAIT)

    def publish(self, topic, payload, qos, retain=False):
        sent = self.paho.publish(topic, payload, qos, retain)
        sent.wait_for_publish(WAIT)
        assert sent.is_published()

    def next(self):
        message = self.heard.get(timeout=WAIT)
        body = json.loads(message.payload)
        return message, body["value"] if isinstance(body, dict) else body

    def values(self, count):
        return [self.next()[1] for _ in range(count)]

    def leave(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def vanish(self):
        """Without a goodbye."""
        self.paho.loop_stop()
        self.paho._sock_close()


def reading(device, sensor="s"):
    return f"devices/{device}/sensors/{sensor}/value"


def nothing_but(client, sender, topic, mark):
    """What was not to come would have come before this."""
    sender.publish(topic, json.dumps(mark), 1)
    message, value = client.next()
    assert value == mark, (message.topic, message.payload)


def until(client, mark):
    """Everything from sensors before that."""
    before = []
    while True:
        message, value = client.next()
        if value == mark:
            return before
        if "/sensors/" in message.topic:
            before.append((message, value))


def basic(version, name):
    sender, watcher = Client(f"a-{name}", version), Client(f"b-{name}", version)
    assert watcher.subscribe((f"devices/{name}/#", 2)) == [1]
    for qos in (0, 1, 2):
        sender.publish(reading(name), f"{{\"value\": {qos}}}", qos)
    assert watcher.values(3) == [0, 1, 2]
    # After an UNSUBSCRIBE nothing comes, and what is subscribed to stays.
    watcher.subscribe((reading(name, "mark"), 1))
    done = threading.Event()
    watcher.paho.on_unsubscribe = lambda *a: done.set()
    watcher.paho.unsubscribe(f"devices/{name}/#")
    assert done.wait(WAIT)
    sender.publish(reading(name), "3", 1)
    nothing_but(watcher, sender, reading(name, "mark"), "end")


def retained(version, name):
    sender = Client(f"a-{name}", version)
    for qos in (0, 1, 2):
        sender.publish(reading(name, f"q{qos}"), json.dumps(qos), qos, retain=True)
    # An empty body takes away a retained message elsewhere. A current value is what a sensor said, and stays.
    sender.publish(reading(name, "q1"), b"", 1, retain=True)
    sender.publish(reading(name, "last"), "3", 1)
    # Current values follow the log: somebody who subscribes is sent those that are there by then.
    attempt, first = 0, []
    while sorted(value for _, value in first) != [0, 1, 2, 3]:
        attempt += 1
        watcher = Client(f"b-{name}-{attempt}", version)
        watcher.subscribe((f"devices/{name}/sensors/+/value", 2), (f"devices/{name}/actuators/mark/value", 1))
        sender.publish(f"devices/{name}/actuators/mark/value", json.dumps(f"mark {attempt}"), 1)
        first = until(watcher, f"mark {attempt}")
    assert all(message.retain for message, _ in first)
    # What comes from now on is new.
    sender.publish(reading(name, "q0"), "9", 1)
    message, value = watcher.next()
    assert value == 9 and not message.retain


def offline(version, name):
    away = Client(f"a-{name}", version, clean=False)
    assert not away.present
    away.subscribe((f"devices/{name}/#", 2))
    away.leave()
    sender = Client(f"b-{name}", version)
    for qos in (0, 1, 2):
        sender.publish(reading(name), json.dumps(qos), qos)
    back = Client(f"a-{name}", version, clean=False)
    assert back.present
    # Those of QoS 0 may be left out by the standard; here they are in the log like the others.
    assert back.values(3) == [0, 1, 2]
    back.leave()
    anew = Client(f"a-{name}", version, clean=True)
    assert not anew.present
    anew.leave()
    assert not Client(f"a-{name}", version, clean=False).present


def will(version, name):
    watcher, sender = Client(f"w-{name}", version), Client(f"s-{name}", version)
    watcher.subscribe((f"devices/{name}/#", 2))
    for qos in (0, 1, 2):
        Client(f"a-{name}-{qos}", version, will=(reading(name), f"\"gone {qos}\"", qos)).vanish()
        assert watcher.next()[1] == f"gone {qos}"
    Client(f"b-{name}", version, will=(reading(name), "\"never\"", 1)).leave()
    nothing_but(watcher, sender, reading(name), "end")


def overlapping(version, name):
    watcher, sender = Client(f"w-{name}", version), Client(f"s-{name}", version)
    assert watcher.subscribe((f"devices/{name}/#", 2), (f"devices/{name}/sensors/+/value", 1), (reading(name), 0)) == [1, 1, 0]
    sender.publish(reading(name), "1", 2)
    message, value = watcher.next()
    # Once, with the best quality of those that were granted.
    assert value == 1 and message.qos == 1, message.qos
    nothing_but(watcher, sender, reading(name), "end")


def keepalive(version, name):
    watcher = Client(f"w-{name}", version)
    watcher.subscribe((f"devices/{name}/#", 2))
    quiet = Client(f"a-{name}", version, keepalive=2, will=(reading(name), "\"too quiet\"", 1))
    # Nobody sends its PINGREQ any more; the socket stays open.
    quiet.paho.loop_stop()
    assert watcher.next()[1] == "too quiet"
    # One that does is let be.
    heard = Client(f"b-{name}", version, keepalive=2)
    Client(f"c-{name}", version, keepalive=2, will=(reading(name), "\"again\"", 1)).paho.loop_stop()
    assert watcher.next()[1] == "again"
    assert not heard.gone.is_set()


def redelivery(version, name):
    sender = Client(f"s-{name}", version)
    deaf = Client(f"a-{name}", version, clean=False, manual=True)
    deaf.subscribe((f"devices/{name}/#", 1))
    for n in range(3):
        sender.publish(reading(name), json.dumps(n), 1)
    assert deaf.values(3) == [0, 1, 2]
    deaf.vanish()
    back = Client(f"a-{name}", version, clean=False)
    assert back.present
    again = [back.next() for _ in range(3)]
    assert [value for _, value in again] == [0, 1, 2] and all(message.dup for message, _ in again), [m.dup for m, _ in again]
    back.leave()
    # Acknowledged, it does not come again.
    last = Client(f"a-{name}", version, clean=False)
    nothing_but(last, sender, reading(name), "end")


def zero_length_id(version, name):
    first = Client("", version)
    assert not first.present
    if version == mqtt.MQTTv5:
        assert first.properties.AssignedClientIdentifier
        assert first.properties.AssignedClientIdentifier != Client("", version).properties.AssignedClientIdentifier
    first.subscribe((f"devices/{name}/#", 1))
    # Two of them do not take each other's place.
    second = Client("", version)
    second.publish(reading(name), "1", 1)
    assert first.values(1) == [1] and not first.gone.is_set()


def subscribe_failure(version, name):
    client = Client(f"a-{name}", version)
    # Paho itself refuses what is no filter by the standard; one that is too deep is one, and is more than a topic here has.
    codes = client.subscribe((f"devices/{name}/#", 2), ("/".join("a" * 40), 2), (reading(name), 0))
    assert codes[0] == 1 and codes[1] >= 0x80 and codes[2] == 0, codes


def dollar_topics(version, name):
    watcher, sender = Client(f"w-{name}", version), Client(f"s-{name}", version)
    watcher.subscribe(("#", 2), ("+/+/+/+/+", 2), ("$SYS/#", 2), (f"$devices/{name}/#", 2))
    sender.publish(f"$devices/{name}/sensors/s/value", "1", 1)
    sender.publish("$SYS/broker/version", "1", 1)
    nothing_but(watcher, sender, reading(name), "end")


CHECK, ADDR, TOKEN = sys.argv[1:4]
for protocol, short in BOTH:
    globals()[CHECK](protocol, f"{CHECK}-{short}")
print("ok", flush=True)
