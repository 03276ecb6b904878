"""Clients of Python's paho-mqtt. `paho_client.py stories ADDR TOKEN`, `paho_client.py stubborn FILE TOKEN`."""

import json
import queue
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT = 30


class Client:
    """One connection, with what it hears in a queue."""

    def __init__(self, name, version, clean=True, will=None, **options):
        kwargs = {"client_id": name, "protocol": version}
        if version != mqtt.MQTTv5:
            kwargs["clean_session"] = clean
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, **kwargs)
        self.paho.username_pw_set("machine", TOKEN)
        self.heard, self.subscribed, self.connected = queue.Queue(), queue.Queue(), queue.Queue()
        self.paho.on_message = lambda c, u, m: self.heard.put(m)
        self.paho.on_subscribe = lambda c, u, mid, codes, p: self.subscribed.put(codes)
        self.paho.on_connect = lambda c, u, flags, code, p: self.connected.put((flags.session_present, code))
        if will:
            self.paho.will_set(*will, qos=1)
        host, port = ADDR.rsplit(":", 1)
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            options.update(clean_start=clean, properties=properties)
        self.paho.connect(host, int(port), 30, **options)
        self.paho.loop_start()
        self.present, code = self.connected.get(timeout=WAIT)
        assert not code.is_failure, code

    def subscribe(self, topic, qos=1):
        self.paho.subscribe(topic, qos)
        codes = self.subscribed.get(timeout=WAIT)
        assert codes[0].value == min(qos, 1), codes

    def publish(self, topic, value, qos):
        sent = self.paho.publish(topic, json.dumps({"value": value}), qos)
        sent.wait_for_publish(WAIT)
        assert sent.is_published()

    def value(self):
        body = json.loads(self.heard.get(timeout=WAIT).payload)
        return body["value"] if isinstance(body, dict) else body

    def leave(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def vanish(self):
        """Without a goodbye."""
        self.paho._sock_close()
        self.paho.loop_stop()


def stories():
    for version, device in [(mqtt.MQTTv311, "p3"), (mqtt.MQTTv5, "p5")]:
        topic = f"devices/{device}/sensors/s/value"
        sender = Client(f"sender-{device}", version)
        for qos in (0, 1, 2):
            watcher = Client(f"watcher-{device}", version)
            watcher.subscribe(topic, 2)
            while not watcher.heard.empty():
                watcher.heard.get()
            sender.publish(topic, qos + 10, qos)
            while watcher.value() != qos + 10:
                pass
            watcher.leave()
        # A session that lasts.
        away = Client(f"away-{device}", version, clean=False)
        assert not away.present
        away.subscribe(f"devices/{device}/sensors/later/value")
        away.leave()
        for n in range(20):
            sender.publish(f"devices/{device}/sensors/later/value", n, 1)
        back = Client(f"away-{device}", version, clean=False)
        assert back.present
        assert [back.value() for _ in range(20)] == list(range(20))
        back.leave()
        assert not Client(f"away-{device}", version).present
        # A group shares.
        members = [Client(f"{device}-member{n}", version) for n in range(2)]
        for member in members:
            member.subscribe(f"$share/g/devices/{device}/sensors/shared/value")
        for n in range(10):
            sender.publish(f"devices/{device}/sensors/shared/value", n, 1)
        assert sorted(m.value() for m in members for _ in range(5)) == list(range(10))
        # A will.
        lost = Client(f"lost-{device}", version, will=(f"devices/{device}/sensors/will/value", '"gone"'))
        watcher = Client(f"watcher-{device}", version)
        watcher.subscribe(f"devices/{device}/sensors/will/value")
        lost.vanish()
        assert watcher.value() == "gone"
        # Its second connection takes the place of the first.
        Client(f"watcher-{device}", version)
    print("ok", flush=True)


def stubborn(place):
    """Publishes until everything is acknowledged, however often the node goes away and comes back elsewhere."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="stubborn", clean_session=False)
    client.username_pw_set("machine", TOKEN)
    client.max_inflight_messages_set(8)
    done, left = threading.Event(), 400
    lock = threading.Lock()

    def published(c, u, mid, code, p):
        nonlocal left
        with lock:
            left -= 1
            if left == 0:
                done.set()

    client.on_publish = published
    started, end = False, time.monotonic() + 120
    while not done.is_set():
        assert time.monotonic() < end, f"{left} are not acknowledged"
        try:
            host, port = open(place).read().rsplit(":", 1)
            client.connect(host, int(port), 10)
        except (OSError, ValueError):
            time.sleep(0.02)
            continue
        if not started:
            started = True
            for n in range(200):
                for qos in (1, 2):
                    client.publish(f"devices/d/sensors/q{qos}/value", str(n), qos)
        while not done.is_set() and client.loop(0.05) == mqtt.MQTT_ERR_SUCCESS:
            pass
    client.disconnect()


ADDR, TOKEN = sys.argv[2], sys.argv[3]
if sys.argv[1] == "stories":
    stories()
else:
    stubborn(ADDR)
