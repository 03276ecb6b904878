//! Every limit of the node that is a constant, with its unit in its name. `docs/LIMITS.md` lists them with their tests.

/// An id is this long at most, so that a key of the ledger stays small.
pub const ID_BYTES_MAX: usize = 128;
/// A subject is this long at most; nats-server's own limit for a protocol line is 4 KiB.
pub const SUBJECT_BYTES_MAX: usize = 1024;
/// One reading's value: what a LoRaWAN frame, a log line or a small picture needs, and a batch of 100 stays under NATS' 8 MiB.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// One HTTP request with readings: a WAZIUP gateway sends up to 1 MiB, or 30,000 values.
pub const INGEST_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A body of readings that counts as small: a few hundred readings of one sensor.
pub const BODY_SMALL_BYTES_MAX: usize = 64 * 1024;
/// Small bodies in memory at a time: 512 of the largest, many thousands of the usual size.
pub const BODIES_SMALL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The other bodies in memory at a time: 24 of the largest. Who comes on top waits, or is told when to come back.
pub const BODIES_LARGE_BYTES_MAX: usize = 96 * 1024 * 1024;
/// How long all of a body may take: 4 MiB over a link of 600 kbit/s.
pub const BODY_SECONDS_MAX: u64 = 60;
/// How long a body may stand still, so that it can't keep its memory for nothing.
pub const BODY_IDLE_SECONDS_MAX: u64 = 10;
/// How long a body waits for memory: less than clients wait for an answer.
pub const BODY_ROOM_SECONDS_MAX: u64 = 5;
/// Readings in one request.
pub const INGEST_READINGS_MAX: usize = 30_000;
/// Values in one uplink of a device: what a LoRaWAN frame can't hold, and a device on another net after a day offline does.
pub const UPLINK_READINGS_MAX: usize = 1_000;
/// Lists and objects inside each other in a value of XLPP: it is read by recursion.
pub const XLPP_DEPTH_MAX: usize = 16;
/// One key of an app's state.
pub const STATE_KEY_BYTES_MAX: usize = 512;
/// One value of an app's state.
pub const STATE_VALUE_BYTES_MAX: usize = 256 * 1024;
/// Effects (writes, messages, commands) of one call.
pub const EFFECTS_MAX: usize = 1_000;
/// Bytes of all effects of one call: one commit must fit one message of the log.
pub const EFFECTS_BYTES_MAX: usize = 512 * 1024;
/// Events in a row, each published by the call on the one before it. Chains of functions that mean it have a handful; one more than
/// this is an app, or several, that feed themselves.
pub const HOPS_MAX: u16 = 16;
/// Log lines of one call; what is over is counted and named in a last line.
pub const LOG_LINES_MAX: usize = 256;
/// Bytes of all log lines of one call.
pub const LOG_BYTES_MAX: usize = 32 * 1024;
/// One log line; a longer one is cut.
pub const LOG_LINE_BYTES_MAX: usize = 4 * 1024;
/// Entries that one `state.entries` returns.
pub const STATE_ENTRIES_MAX: usize = 1_000;
/// Bytes of keys and values that one listing or `get-many` returns: four of the largest values, and a page of a thousand small ones.
pub const STATE_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Keys and prefixes of the state that one call reads: each is remembered until the call's commit has been checked against it.
pub const READS_MAX: usize = 4_000;
/// Bytes of all keys and prefixes that one call reads.
pub const READS_BYTES_MAX: usize = 512 * 1024;
/// What a guest hands over in one host call, or answers with: twice what the largest write of a stream takes. It is copied into the
/// node's own memory before anything else looks at it.
pub const HOSTCALL_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Results that one history query returns.
pub const HISTORY_HITS_MAX: usize = 1_000;
/// Results that a history query can skip: they are all held to be sorted. Deeper pages begin at the last one's measured time.
pub const HISTORY_OFFSET_MAX: usize = 100_000;
/// One history query; what a person types, with a list of some hundred ids in it.
pub const QUERY_BYTES_MAX: usize = 4 * 1024;
/// Parentheses and `NOT`s inside each other in a query: it is parsed by recursion, on a small stack.
pub const QUERY_DEPTH_MAX: usize = 32;
/// Conditions in a query, each a list of documents to be merged with the others in every partition.
pub const QUERY_CONDITIONS_MAX: usize = 256;
/// Questions to the history that are answered at a time: each takes a thread and reads the disk.
pub const SEARCHES_MAX: usize = 8;
/// How long a question waits for others to be answered.
pub const SEARCH_WAIT_SECONDS_MAX: u64 = 5;
/// How long a question may take: after this, no further partition is looked into.
pub const SEARCH_SECONDS_MAX: u64 = 10;
/// A request body that a conflicting HTTP call can be run on again.
pub const HTTP_REPLAY_BODY_BYTES_MAX: usize = 1024 * 1024;
/// What is read of a request's body after its answer.
pub const HTTP_DRAIN_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How far ahead of the node's clock a measured time may be and still be stored as a time; later ones are refused as garbage.
pub const MEASURED_AHEAD_MAX_DAYS: i64 = 3_660;
/// The body of a request to a function.
pub const HTTP_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections at a time, each some 20 KiB and a file descriptor. Who comes on top waits.
pub const CONNECTIONS_MAX: usize = 2_048;
/// How long a connection may take to send a request's head, and be silent between two requests.
pub const HEAD_SECONDS_MAX: u64 = 30;
/// How long a client may take nothing of what is on its way to it: twice what is waited for one that holds an instance.
pub const TAKES_SECONDS_MAX: u64 = 60;
/// A request's head, and what of a body is read at a time.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Of all instances, those that calls of one app hold for events while they wait for something.
pub const EVENT_CALLS_PER_APP_PERCENT: usize = 40;
/// Of all instances, those that all calls for events hold while they wait for something.
pub const EVENT_CALLS_PERCENT: usize = 75;
/// Of all instances, how many one app's HTTP calls have at once: slow clients of one app leave instances for the others.
pub const HTTP_CALLS_PER_APP_PERCENT: usize = 25;
/// Of all instances, how many the HTTP calls of all apps have at once: the others are for events.
pub const HTTP_CALLS_PERCENT: usize = 75;
/// A client that sends nothing of its request, or takes nothing of its answer, for so long holds no instance any more.
pub const HTTP_BODY_IDLE_SECONDS: u64 = 30;
/// Clients of MQTT that are connected at a time, each a file descriptor and a few KiB. Who comes on top is hung up on.
pub const MQTT_CONNECTIONS_MAX: usize = 16_384;
/// One packet of MQTT: what a gateway sends of a few minutes offline, in one list.
pub const MQTT_PACKET_BYTES_MAX: usize = 1024 * 1024;
/// A topic or a filter: two ids and the words around them have less than 300.
pub const MQTT_TOPIC_BYTES_MAX: usize = 512;
/// Levels of a filter; a topic of ours has five.
pub const MQTT_FILTER_LEVELS_MAX: usize = 16;
/// The id of a client; ids of devices and gateways are shorter.
pub const MQTT_CLIENT_ID_BYTES_MAX: usize = 256;
/// Filters that one client subscribes to.
pub const MQTT_SUBSCRIPTIONS_MAX: usize = 100;
/// Publishes of a client that are not durable yet, and deliveries to it that it has not acknowledged.
pub const MQTT_INFLIGHT_MAX: usize = 64;
/// Packets of quality of service 2 that a client has not released.
pub const MQTT_RECEIVED_MAX: usize = 1_000;
/// Deliveries that wait in memory for one client; who is slower reads the log.
pub const MQTT_QUEUE_MAX: usize = 256;
/// Bytes that wait for a client to take them, give or take one packet.
pub const MQTT_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// A client that takes nothing for so long is hung up on.
pub const MQTT_STALL_SECONDS_MAX: u64 = 30;
/// From a connection to the end of its first packet.
pub const MQTT_CONNECT_SECONDS_MAX: u64 = 10;
/// From the first byte of a packet to its last.
pub const MQTT_PACKET_SECONDS_MAX: u64 = 30;
/// What a client of version 5 is told to keep to when it wants to be silent for longer, or for ever.
pub const MQTT_KEEP_ALIVE_SECONDS_MAX: u16 = 3_600;
/// Packets that one client is read in a second; the rest waits in its connection.
pub const MQTT_PACKETS_PER_SECOND_MAX: usize = 5_000;
/// Publishes of all clients that are not durable yet: half of the places of the ledger's queue.
pub const MQTT_PUBLISHES_MAX: usize = 4_096;
/// Bytes of all of them.
pub const MQTT_PUBLISHES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of packets that have not come whole, of all clients, 4 KiB of each left out. Who would go over it is hung up on.
pub const MQTT_BUFFERS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Clients of MQTT over WebSocket: browsers. Each may hold a whole message.
pub const MQTT_WEBSOCKETS_MAX: usize = 2_048;
/// One message of a WebSocket; a packet may take several.
pub const MQTT_WEBSOCKET_BYTES_MAX: usize = 64 * 1024;
/// Sessions that are kept for clients that may come again.
pub const MQTT_SESSIONS_MAX: usize = 100_000;
/// Those of one user, of one token, or of all guests: a tenth, so that nobody takes the room of everybody.
pub const MQTT_SESSIONS_SHARE_MAX: usize = 10_000;
/// How long a session is kept without a connection: as long as the log is by default, which has what the client missed.
pub const MQTT_SESSION_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;
/// How far back in the log a client that comes again is read what it missed.
pub const MQTT_OFFLINE_EVENTS_MAX: u64 = 1_000_000;
/// A list in an answer ends before it is longer than this, and so do the values that are read for it: a thousand devices of 4 KiB.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An answer that counts as small.
pub const ANSWER_SMALL_BYTES_MAX: usize = 64 * 1024;
/// Answers that may be large, of all who ask at a time: 16 of the largest.
pub const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long an answer waits for room: less than clients wait for it.
pub const ANSWER_ROOM_SECONDS_MAX: u64 = 5;
/// Comparisons that one `q=` may take: some tenths of a second.
pub const QUERY_COMPARISONS_MAX: u64 = 20_000_000;
/// Resources of one list of permissions, which clients of the WAZIUP cloud don't ask for in pages.
pub const PERMISSIONS_MAX: usize = 10_000;
/// Of the devices, gateways and projects of a node, what may belong to nobody that guests register in all.
pub const GUESTS_SHARE_PERCENT: usize = 10;
/// Bytes of the documents that belong to nobody, when a guest adds to them.
pub const GUESTS_DOCUMENTS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Of the devices, gateways and projects of a node, what one user registers.
pub const USER_SHARE_PERCENT: usize = 25;
/// Bytes of the documents of one user.
pub const USER_DOCUMENTS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Devices of a node, with those that were only heard: each is some hundred bytes in memory, and as much for each of its sensors.
pub const DEVICES_MAX: usize = 250_000;
/// Gateways of a node.
pub const GATEWAYS_MAX: usize = 20_000;
/// Projects of a node.
pub const PROJECTS_MAX: usize = 20_000;
/// Sensors of a device, and actuators of one: a data logger has some dozens; a device that invents sensors ends here.
pub const PARTS_PER_DEVICE_MAX: usize = 512;
/// A name, a kind, a unit, a domain: what fits a line on a screen.
pub const TEXT_BYTES_MAX: usize = 256;
/// `meta` of a device, a sensor or an actuator, and a calibration, as JSON: a page of text.
pub const META_BYTES_MAX: usize = 16 * 1024;
/// A document of the registry with all that belongs to it, as JSON: 512 sensors with all their kinds, and what one value of the ledger's state may be.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Devices of a project, and gateways of one, each a few dozen bytes of its document.
pub const PROJECT_MEMBERS_MAX: usize = 10_000;
/// A selector as a text, and each text in it.
pub const SELECTOR_BYTES_MAX: usize = 2 * 1024;
/// Tags that one selector asks for.
pub const SELECTOR_TAGS_MAX: usize = 16;
/// Selectors that are followed at a time: each is asked about every device that changes.
pub const WATCHES_MAX: usize = 4_096;
/// Commands whose state is known: the oldest make room.
pub const COMMANDS_MAX: u64 = 100_000;
/// Of one device: each is 64 KiB at most, and those that wait are read at once.
pub const COMMANDS_PER_DEVICE_MAX: usize = 256;
/// How long a command waits for its device: what is a day old is rarely meant any more.
pub const COMMAND_SECONDS_MAX: u64 = 24 * 60 * 60;
/// A password is this long at least: what is shorter is guessed.
pub const PASSWORD_BYTES_MIN: usize = 8;
/// And at most: a long sentence.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Passwords hashed at a time: each takes 19 MiB and a processor.
pub const PASSWORD_HASHES_MAX: usize = 2;
/// Passwords that wait for their turn: some two seconds of them. Who comes on top is told to come back.
pub const PASSWORD_HASHES_WAITING_MAX: usize = 64;
/// Passwords of Basic authentication that are known again without hashing.
pub const PASSWORDS_REMEMBERED_MAX: usize = 1_000;
/// Wrong passwords for one user within [`LOGIN_WINDOW_SECONDS`]; after them even the right one waits for the window's end.
pub const LOGIN_FAILURES_MAX: usize = 10;
/// A guesser has 2,880 guesses a day, who mistyped waits five minutes.
pub const LOGIN_WINDOW_SECONDS: u64 = 300;
/// Names that nobody has share so many windows of failures.
pub const LOGIN_UNKNOWN_WINDOWS_MAX: u64 = 1_000;
/// Users that guests register in an hour, all together.
pub const GUEST_REGISTRATIONS_PER_HOUR_MAX: usize = 100;
/// Users of a tenant, those counted that are deleted, whose names nobody takes over.
pub const USERS_MAX: usize = 100_000;
/// A text of a user's profile: a name or an address of mail.
pub const PROFILE_BYTES_MAX: usize = 254;
/// A session lasts so long, as in the WAZIUP cloud; who renews it goes on.
pub const SESSION_SECONDS: u64 = 600;
/// So long after the password was shown it is renewed no more: a working day.
pub const SESSION_RENEWED_SECONDS_MAX: u64 = 43_200;
/// Secrets of one device at a time: an old one, a new one, and some forgotten.
pub const DEVICE_SECRETS_MAX: usize = 8;
/// Claim codes that nobody has used yet: a delivery of devices.
pub const CLAIMS_MAX: usize = 10_000;
/// A claim code is good for so many days: from the shop to the field.
pub const CLAIM_DAYS_MAX: u64 = 90;
/// The condition of a notification: a page of comparisons. It is walked by recursion, and a chain is as deep as it is long.
pub const EXPRESSION_BYTES_MAX: usize = 1024;
/// Parentheses and signs inside each other in a condition: it is parsed by recursion, on a small stack.
pub const EXPRESSION_DEPTH_MAX: usize = 32;
/// Notifications of one user, and those of the node's tokens together: each is looked at for every reading that it names.
pub const NOTIFICATIONS_PER_OWNER_MAX: usize = 100;
/// Notifications of a node: all of them are in memory.
pub const NOTIFICATIONS_MAX: usize = 10_000;
/// Devices of one notification, and as many sensors.
pub const CONDITION_DEVICES_MAX: usize = 100;
/// Sensors that one notification names, in its condition and its action together: each may have to be looked up for a reading.
pub const NOTIFICATION_NAMES_MAX: usize = 32;
/// One change of the records by notifications: well below the megabyte that a NATS server takes by default.
pub const FIRING_BYTES_MAX: usize = 384 * 1024;
/// The least time between two firings of one notification, whatever it asks for: a sensor that sends a thousand values a second has one
/// message a second to tell.
pub const THROTTLING_SECONDS_MIN: i64 = 1;
/// Messages that one firing makes: each user on each channel.
pub const RECIPIENTS_MAX: usize = 64;
/// One message, its sensors' values filled in; longer ones are cut.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Messages of one owner that are not sent and not given up yet; what fires beyond is a failure of its notification.
pub const SOCIALS_PENDING_PER_OWNER_MAX: usize = 500;
/// Messages of one owner that are kept after they were sent or given up, the newest of them.
pub const SOCIALS_KEPT_PER_OWNER_MAX: usize = 1_000;
/// Attempts to send one message. With the pauses between them, an address may be away for some five hours.
pub const DELIVERY_ATTEMPTS_MAX: u32 = 12;
/// How long one attempt may take, from the lookup of a name to the last byte.
pub const DELIVERY_SECONDS_MAX: u64 = 15;
/// Attempts at a time, of all channels.
pub const DELIVERIES_MAX: usize = 16;
/// Attempts at a time for one owner: four whose addresses do not answer hold up nobody else.
pub const DELIVERIES_PER_OWNER_MAX: usize = 4;
/// Mails of one owner in an hour; what is more waits for the next.
pub const MAILS_PER_OWNER_HOUR_MAX: usize = 200;
/// Mails to one address in an hour, whoever writes them.
pub const MAILS_PER_ADDRESS_HOUR_MAX: usize = 60;
/// Why a message was not taken, as it is kept: another server's words.
pub const REFUSAL_BYTES_MAX: usize = 512;
/// Sources of one app that are asked at a time: some that hang hold up the others of their app alone.
pub const SOURCES_ASKED_PER_APP_MAX: usize = 4;
/// Sources that are asked at a time, each with up to a megabyte of an answer.
pub const SOURCES_ASKED_MAX: usize = 128;
/// The answer of a source, or what its webhook is sent: a page of JSON.
pub const SOURCE_BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long one question to a source may take, from the lookup of its name to the last byte.
pub const SOURCE_SECONDS_MAX: u64 = 30;
/// How long a question waits for the history to have what came before it: less than a client waits for an answer.
pub const REACH_SECONDS_MAX: u64 = 5;
/// Devices that one question for values can be about: each has a condition of its own.
pub const DATA_DEVICES_MAX: usize = 100;
/// Sensors that one question for values can name.
pub const DATA_SENSORS_MAX: usize = 1_000;
/// Devices inside of the gateways or projects of one answer.
pub const FULL_DEVICES_MAX: usize = 1_000;
/// How long a node that comes back waits with its silences: clients try again after a minute or two at most.
pub const SILENCE_GRACE_SECONDS: u64 = 120;
/// A receive clock that goes back by more than this was wrong before; by less it is two nodes that differ, or a clock that is being set.
pub const CLOCK_BACK_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Sensors, devices or subjects that one rule follows: all devices of a node with one sensor each.
pub const RULE_SERIES_MAX: usize = 250_000;
/// What a rule keeps of one sensor in memory; what is larger is read when it is needed.
pub const RULE_STATE_BYTES_MAX: usize = 1024;
/// Parts that a sliding window is put together from, each as long as the greatest measure of `length` and `every`: a day in minutes.
pub const WINDOW_PANES_MAX: u64 = 1_440;
/// Windows of one sensor that take late readings at a time: a month of minutes.
pub const WINDOWS_KEPT_MAX: u64 = 50_000;
/// Sessions of one sensor that take late readings at a time; the oldest make room.
pub const SESSIONS_KEPT_MAX: usize = 1_000;
/// Readings that one window shows; its sums are over all of them.
pub const WINDOW_READINGS_MAX: usize = 1_000;
/// Numbers of one window that percentiles are taken of: they are exact, or they are not there.
pub const WINDOW_NUMBERS_MAX: usize = 10_000;
/// Readings in one batch, or shown by one window, as they are told: half of what one commit may hold.
pub const FIRED_BYTES_MAX: usize = 256 * 1024;
/// Late readings of a window wait so long for more of them, by the receive clock, before its result is corrected.
pub const REVISION_SECONDS: u64 = 1;
/// Sensors whose late readings are counted one by one until somebody asks; those of the others are counted together.
pub const LATE_SENSORS_MAX: usize = 1_000;
/// A moment of a schedule that is called so much later was not missed: a node starts in less.
pub const TICK_LATE_SECONDS_MAX: u64 = 60;
/// Moments of a schedule that were let go are counted up to here.
pub const TICKS_COUNTED_MAX: usize = 10_000;
/// Rules of pre-processing of a node: each is asked of a sensor that changes.
pub const CLEAN_RULES_MAX: usize = 1_000;
/// Steps of one of them.
pub const CLEAN_STEPS_MAX: usize = 16;
/// Readings that a step remembers of a sensor: 512 bytes of its state.
pub const CLEAN_WINDOW_MAX: usize = 64;
/// Points of a calibration table.
pub const CLEAN_TABLE_POINTS_MAX: usize = 64;
/// Coefficients of a polynomial: nobody calibrates by the eighth power.
pub const CLEAN_COEFFICIENTS_MAX: usize = 8;
/// One rule, as JSON: a table in each of its steps.
pub const CLEAN_RULE_BYTES_MAX: usize = 64 * 1024;
/// Derived sensors that rules make: each rule reads the whole log for itself.
pub const CLEAN_DERIVED_MAX: usize = 64;
/// Values that fill one gap: a week, one a minute.
pub const CLEAN_FILLED_MAX: usize = 10_080;
/// Calls of one function that go well and are recorded in a second: what a person can look at. Each is some 400 bytes of the log and of
/// the history; the others are counted. What fails is always recorded.
pub const RUNS_PER_SECOND_MAX: i64 = 10;
/// Effects of a call that its record lists; all of them are counted.
pub const RUN_EFFECTS_MAX: usize = 16;
/// The error in the record of a call: what a failure says of itself, with the places of a trap.
pub const RUN_ERROR_BYTES_MAX: usize = 2 * 1024;
/// Another text in it: a key, a path. A longer one is cut.
pub const RUN_TEXT_BYTES_MAX: usize = 512;
/// Records of calls that one answer holds.
pub const RUNS_MAX: usize = 1_000;
/// Replays of a range that run at a time on a node: each has a ledger of its own, some 100 MB of memory at most, and takes processors from
/// what is live.
pub const REPLAYS_RUNNING_MAX: usize = 2;
/// Replays that wait or run: whoever asks for more has most likely asked in a loop.
pub const REPLAYS_WAITING_MAX: usize = 32;
/// Replays that are kept with their output; the oldest that are over make room.
pub const REPLAYS_KEPT_MAX: usize = 64;
/// What one replay may write: a disk is not to be filled by a question.
pub const REPLAY_OUTPUT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of a replay's output in one answer.
pub const REPLAY_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One line of a trace: a value, and what was sent instead of it, each of 64 KiB and twice that in hex, with room for all names.
pub const TRACE_LINE_BYTES_MAX: usize = 512 * 1024;
