"""The written list: differences that are there on purpose, or harmless to every client.

A bug of ours does not belong here, however small: it is to stay red until it is mended.
"""

import re
from dataclasses import dataclass

ANY = object()
ASK_BY_PARTITION = ("Produce|Fetch|ListOffsets|OffsetForLeaderEpoch|OffsetCommit|OffsetFetch|"
                    "TxnOffsetCommit|AddPartitionsToTxn|OffsetDelete|DeleteRecords|"
                    "DescribeProducers")


@dataclass
class Difference:
    """What an entry is about: APIs, a field's path without list labels, values. A value may be a
    function that says whether it is meant."""
    api: str
    path: str
    why: str
    kafka: object = ANY
    ours: object = ANY
    when: object = None

    def matches(self, step, path, kafka, ours):
        plain = re.sub(r"\[[^\]]*\]", "", path)
        return (re.fullmatch(self.api, step.api) and re.fullmatch(self.path, plain)
                and meant(self.kafka, kafka) and meant(self.ours, ours)
                and (self.when is None or self.when(step, path)))


def twice(step):
    """Whether a request names a topic, a partition of it, or anything else more than once."""
    fields = step.fields
    for name in ("topics", "topic_data", "v3_and_below_topics", "groups", "resources",
                 "coordinator_keys", "topic_names", "group_ids"):
        names = []
        for each in fields.get(name) or ():
            if isinstance(each, str):
                names.append(each)
                continue
            own = [each.get(key) for key in ("topic", "name", "group_id", "resource_type",
                                             "resource_name")]
            parts = each.get("partition_data") or [{}]
            names += [str((own, part.get("index"))) for part in parts]
            if name == "groups":
                names += [str((own, topic["name"])) for topic in each["topics"] or ()]
        if len(set(names)) < len(names):
            return True
    entities = [sorted(part["entity_type"] for part in each["entity"])
                for each in fields.get("entries") or ()]
    whose = [str(sorted(map(str, each["entity"]))) for each in fields.get("entries") or ()]
    return len(set(whose)) < len(whose) or any(len(set(each)) < len(each) for each in entities)


# The highest numbers of what a rule or a filter of access names; 0 is what nobody knows.
RULE_NUMBERS = {"resource_type": 7, "resource_type_filter": 7, "pattern_type_filter": 4,
                "resource_pattern_type": 4, "operation": 15, "permission_type": 3}


def unknown_number(step):
    """Whether a rule of access, or a filter for them, has a number that means nothing."""
    rules = step.fields.get("creations") or step.fields.get("filters") or [step.fields]
    return any(not 0 < rule.get(name, 1) <= most
               for rule in rules for name, most in RULE_NUMBERS.items())


def filter_as_rule(step):
    """Whether a rule of access is to be made with what only filters have."""
    return any(rule.get("resource_pattern_type") in (1, 2) or 1 in (
        rule.get("resource_type"), rule.get("operation"), rule.get("permission_type"))
               for rule in step.fields.get("creations") or ())


def meant(wanted, value):
    if wanted is ANY:
        return True
    if callable(wanted):
        return wanted(value)
    return wanted == value


def nothing(value):
    return not value


LIST = [
    # Words.
    Difference(".*", r"(.*\.)?error_message", "We say in words what is wrong; where there is "
               "nothing to say, null and the empty string are the same.", kafka=nothing),
    Difference("FindCoordinator", r"error_message", "Kafka says NONE where nothing is wrong.",
               kafka="text", ours=nothing),
    Difference("DescribeConfigs", r".*\.documentation", "We have no documentation to send.",
               kafka="text", ours=nothing),

    # Requests that no client makes.
    Difference(ASK_BY_PARTITION, ".*", "No client names a partition twice; Kafka answers once, or "
               "refuses, or takes the last; we take each as it comes.",
               ours=lambda value: value is not True, when=lambda step, path: twice(step)),
    Difference("DeleteTopics|AlterConfigs|IncrementalAlterConfigs", ".*", "No client names a topic "
               "or a resource twice in a request that changes it; Kafka refuses, or has no answer.",
               ours=lambda value: value is not True, when=lambda step, path: twice(step)),
    Difference("AlterClientQuotas", ".*", "No client names whom a quota is for, or a part of that, "
               "twice; Kafka answers once, or takes the last.",
               ours=lambda value: value is not True, when=lambda step, path: twice(step)),
    Difference("DescribeGroups|ConsumerGroupDescribe|DescribeConfigs|OffsetFetch|FindCoordinator",
               "groups|results|coordinators", "What is named twice is described once, so that "
               "answers stay in proportion to requests.", when=lambda step, path: twice(step)),
    Difference(ASK_BY_PARTITION, r"\w+", "A topic without partitions is left out by Kafka, and "
               "comes back without any from us.", kafka="(absent)",
               ours=lambda value: isinstance(value, dict) and [] in value.values()),
    Difference("Fetch|Metadata", ".*", "Kafka fails as a whole when it is asked for the id that no "
               "topic has; we say that there is no such topic.",
               when=lambda step, path: step.nil_id),
    Difference("Fetch", r"(error_code|responses.*)", "Kafka fails at a size below 0; for us it is "
               "like 0.", kafka=lambda value: value in (-1, "(absent)"),
               when=lambda step, path: "partition_max_bytes': -1" in str(step.fields)),
    Difference("Fetch", r"responses\.partitions\.records", "So its first batch, which is sent "
               "however large it is, may be another partition's.", ours="(absent)",
               when=lambda step, path: "partition_max_bytes': -1" in str(step.fields)),

    Difference("Produce", r".*(error_code|base_offset)", "No client has a producer id without an "
               "epoch; we refuse it.", when=lambda step, path: bool(re.search(
                   r"producer=<(?!.* epoch=)|epoch=<[^>]*-1>", str(step.fields)))),
    Difference("IncrementalAlterConfigs", r"responses\.error_code", "An operation that does not "
               "exist: Kafka fails as a whole, unless it finds something else wrong before; we "
               "refuse the resource that it is asked for.",
               kafka=lambda value: value in (-1, 40), when=lambda step, path: bool(re.search(
                   "'config_operation': (4|-1)", str(step.fields)))),
    Difference("DescribeConfigs", r"results\.(error_code|error_message|configs)", "A kind of "
               "resource that has no settings: Kafka refuses the request, we refuse that resource.",
               kafka=lambda value: value in (42, "text", "(absent)"),
               when=lambda step, path: any(each["resource_type"] in (1, 99)
                                           for each in step.fields["resources"])),
    Difference("DescribeTopicPartitions", r"topics\..*|topics|next_cursor", "No client asks for "
               "the topic without a name; Kafka fails as a whole then.",
               when=lambda step, path: {"name": ""} in step.fields["topics"]),
    Difference("CreateTopics", r"topics\..*", "Kafka refuses a request that asks for more than "
               "10,000 "
               "partitions as a whole; we refuse those topics of it that have more.",
               when=lambda step, path: "1000000" in str(step.fields)),

    Difference("CreateAcls|DeleteAcls|DescribeAcls", ".*", "Kinds, patterns, operations and "
               "permissions that do not exist: Kafka hangs up, or finds nothing; we refuse that "
               "rule or filter.", ours=lambda value: value is not True,
               when=lambda step, path: unknown_number(step)),
    Difference("CreateAcls", r"results\.error_code", "What only filters have (ANY, MATCH): Kafka "
               "fails as a whole; we refuse that rule.", kafka=-1,
               when=lambda step, path: filter_as_rule(step)),

    # Requests that are wrong in two ways.
    Difference("CreateTopics", r"topics\.error_code", "Wrong in two ways: Kafka looks at name and "
               "settings first, we look at numbers first.",
               kafka=lambda value: value in (17, 36, 37, 40),
               ours=lambda value: value in (37, 38, 39, 40, 42)),
    Difference("CreatePartitions", r"results(\.error_\w+)?", "More partitions than anybody has: "
               "Kafka fails as a whole, or looks at the assignment first; we say that it is too "
               "many.", kafka=lambda value: value in (-1, 39, None) or "-1" in str(value),
               when=lambda step, path: "2147483647" in str(step.fields)),
    Difference("TxnOffsetCommit", r"topics\.partitions\.error_code", "Wrong in two ways: Kafka "
               "looks at the transaction first, we look at the group first.",
               kafka=lambda value: value in (47, 48, 49, 90, 120),
               ours=lambda value: value in (22, 25)),
    Difference("OffsetCommit|TxnOffsetCommit", r"topics\.partitions\.error_code", "Wrong in two "
               "ways: Kafka looks at the metadata's size last, we look at it first.",
               kafka=lambda value: value != 0, ours=12),
    Difference("Produce", r"responses\.partition_responses\.error_code", "Wrong in two ways: Kafka "
               "reads the batches and their compression first; we look at acks, at the topic, then "
               "at the batch.", kafka=lambda value: value in (2, 76, 87),
               ours=lambda value: value in (3, 21)),
    Difference("Produce", r"responses\.partition_responses\.error_code", "Wrong in two ways: Kafka "
               "looks at the version's compression first.", kafka=76,
               ours=lambda value: value in (2, 87)),
    Difference("AlterConfigs|IncrementalAlterConfigs", r"responses\.error_code", "Wrong in two "
               "ways: Kafka looks at the values first, then whether there is such a topic.",
               kafka=40, ours=3),
    Difference("AlterUserScramCredentials", r"results\.error_code", "Wrong in two ways: Kafka looks "
               "at each change, then whether there are two of a user; we look at that first.",
               kafka=lambda value: value in (33, 91, 93), ours=92),
    Difference("ConsumerGroupHeartbeat", "error_code", "Wrong in two ways: Kafka first looks for "
               "the group, we look at the regular expression.", kafka=69, ours=128),

    # What is said of what went wrong, or of nothing.
    Difference("Fetch", r"responses\.partitions\.(high_watermark|last_stable_offset|"
               "log_start_offset)", "With OFFSET_OUT_OF_RANGE we also say what the range is.",
               kafka=-1),
    Difference("Fetch", r"responses\.partitions\.aborted_transactions", "No aborted transactions, "
               "as null or as an empty list: clients take both.", kafka=nothing, ours=nothing),
    Difference("Produce", r"responses\.partition_responses\.log_start_offset", "Kafka sometimes "
               "tells it with an error too; clients do not look at it then.", ours=-1),
    Difference("Metadata", r"topics\.topic_authorized_operations", "Kafka also says what may be "
               "done with a topic that does not exist.", ours=-2**31),
    Difference("Produce", r"responses\.partition_responses\.log_append_time_ms", "To a batch that "
               "it has already, Kafka says its time as if it had given it; clients then use it "
               "as the record's, which it is.", ours=-1,
               kafka=lambda value: str(value).startswith("T+")),

    Difference("DescribeTopicPartitions", r"topics\.topic_authorized_operations", "Kafka also says "
               "what may be done with a topic that does not exist.", ours=-2**31),

    Difference("Produce", r"responses\.partition_responses\.(error_code|base_offset|"
               "log_start_offset)", "No client sends a batch of a transaction without the "
               "transactional id; Kafka refuses all of the request, we refuse that batch.",
               kafka=lambda value: value in (53, -1), ours=lambda value: value != 53,
               when=lambda step, path: step.fields["transactional_id"] is None
               and re.search("attributes=(16|48)", str(step.fields))),
    Difference("Produce", r"responses\.partition_responses\.error_code", "Wrong in two ways: Kafka "
               "first looks for the topic.", kafka=lambda value: value in (3, 100), ours=21),
    Difference("Produce", r"responses\.partition_responses\.\w+", "No client sends batches of "
               "another format's number; Kafka refuses all of the request, we refuse that batch.",
               when=lambda step, path: "'magic': " in str(step.fields)),

    Difference("DescribeTopicPartitions", r"topics|next_cursor(\..*)?", "All topics are asked for, "
               "and of few partitions: Kafka has topics of its own, which take a part of them.",
               when=lambda step, path: not step.fields["topics"]
               and step.fields["response_partition_limit"] < 2000),

    # On purpose.
    Difference("DescribeProducers", r"topics\.partitions\.active_producers\.last_timestamp", "We "
               "keep the time of a producer's last append, not that of its newest record.",
               ours="now"),
    Difference("DescribeProducers", r"topics\.partitions\.active_producers\.coordinator_epoch",
               "A transaction's coordinator has no epochs of its own.", ours=0),
    Difference("ListGroups|DescribeGroups|DeleteGroups", r"(groups|results)(\.error_code|"
               r"\.error_message|\.group_state)?", "A group that never had members is forgotten "
               "with its last offset; by Kafka, at its next cleaning.",
               kafka=lambda value: value in (0, None, "", "Empty") or "consumer" not in str(value),
               ours=lambda value: value in (69, "text", "Dead", "(absent)")),
    Difference("OffsetDelete", r"error_code|topics", "The same.",
               kafka=lambda value: value == 0 or "'error_code': " in str(value),
               ours=lambda value: value in (69, "(absent)")),
    Difference("OffsetCommit", r"topics\.partitions\.error_code", "The same, of who says that it "
               "is in a group that has no members.", kafka=25,
               ours=lambda value: value in (22, 69),
               when=lambda step, path: step.fields["member_id"] in ("", "nobody")),
    Difference("InitProducerId|EndTxn|DescribeTransactions|DescribeProducers|Fetch",
               r"(.*\.)?producer_epoch", "To abort what a producer left open, Kafka raises its "
               "epoch, and then once more for the new one; one is enough.",
               kafka=lambda value: value > 1, ours=lambda value: value > 0),
    Difference("InitProducerId", "error_code|producer_id|producer_epoch", "A producer that starts "
               "again in the middle of a transaction is fenced by Kafka, by the epoch that it "
               "raised itself to abort; clients abort first, and then both answer the same.",
               kafka=lambda value: value in (90, 47, -1),
               ours=lambda value: value not in (90, 47, -1),
               when=lambda step, path: step.fields["producer_id"] != -1),
    Difference("Produce", r"responses\.partition_responses\.(error_code|base_offset)", "Kafka "
               "remembers the sequence of a batch that it refused because it was in no "
               "transaction, and refuses those after it.",
               kafka=lambda value: value in (45, -1), ours=lambda value: value != 45,
               when=lambda step, path: step.version <= 11 and "attributes=16" in str(step.fields)),
    Difference("Produce", r"responses\.partition_responses\.(error_code|base_offset|"
               "log_start_offset)", "Kafka asks the transaction's coordinator about the first batch "
               "in a partition alone, we ask about each.",
               kafka=lambda value: value not in (47, 49), ours=lambda value: value in (47, 49, -1),
               when=lambda step, path: bool(re.search("attributes=16", str(step.fields)))),
    Difference("DescribeLogDirs", r"results\.topics\.partitions\.partition_size", "What was deleted "
               "takes no room with us, even in the newest segment.", ours=0),
    Difference("Fetch", "session_id", "We offer no fetch sessions: 0 is the answer that says so "
               "(KIP-227).", kafka="a session", ours=0),
    Difference("ApiVersions", r"(supported|finalized)_features.*|zk_migration_ready",
               "Features are about Kafka's own upgrades; clients look for those they use."),
    Difference("CreateTopics|DescribeConfigs", r".*configs", "A setting of our own.",
               kafka="(absent)",
               when=lambda step, path: "[durability]" in path or "[ttl.ms]" in path),
    Difference("CreateTopics|DescribeConfigs", r".*configs\..*source", "Kafka 4.3 keeps this one's "
               "default as a setting of the cluster; ours is a constant.", kafka=3, ours=5,
               when=lambda step, path: "min.insync.replicas" in path),
    Difference("DescribeConfigs", r".*\.synonyms(\..*)?", "Synonyms tell where in the broker's own "
               "configuration a default comes from: our broker has no such settings."),
    Difference("CreateTopics", r"topics\.topic_id", "Where a request only asks whether it would "
               "succeed, there is no topic and no id; Kafka makes one up.", ours=None,
               when=lambda step, path: step.fields["validate_only"]),
    Difference("DescribeTransactions", r"transaction_states\.topics", "A transaction's offsets "
               "are in "
               "no partition that clients know: there is no __consumer_offsets.", ours="(absent)",
               when=lambda step, path: "__consumer_offsets" in path),
    Difference("DescribeLogDirs", r"results\.(total|usable)_bytes", "How large the disk is is not "
               "told to everybody: -1 says so.", kafka="some", ours=-1),
]


def listed(step, path, kafka, ours):
    return next((each for each in LIST if each.matches(step, path, kafka, ours)), None)
