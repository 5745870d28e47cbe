//! The layouts, field by field, from the message schemas of Kafka 4.1
//! (`clients/src/main/resources/common/message`).

use super::Kind::{Array, Blob, Fixed, Optional, Struct, Text};
use super::{Field, Kind, Layout, all, between, since, until};

const BOOL: Kind = Fixed(1);
const INT8: Kind = Fixed(1);
const INT16: Kind = Fixed(2);
const INT32: Kind = Fixed(4);
const INT64: Kind = Fixed(8);
const FLOAT64: Kind = Fixed(8);
const UUID: Kind = Fixed(16);
const NUMBERS: Kind = Array(&INT32);
const TEXTS: Kind = Array(&Text);

const fn layout(flexible_from: i16, fields: &'static [Field]) -> Layout {
    Layout { flexible_from, fields }
}

pub(crate) static API_VERSIONS: Layout = layout(3, &[since(3, Text), since(3, Text)]);

pub(crate) static METADATA: Layout = layout(
    9,
    &[
        all(Array(&Struct(&[since(10, UUID), all(Text)]))),
        since(4, BOOL),
        between(8, 10, BOOL),
        since(8, BOOL),
    ],
);

pub(crate) static LIST_OFFSETS: Layout = layout(
    6,
    &[
        all(INT32),
        since(2, INT8),
        all(Array(&Struct(&[
            all(Text),
            all(Array(&Struct(&[all(INT32), since(4, INT32), all(INT64)]))),
        ]))),
        since(10, INT32),
    ],
);

pub(crate) static OFFSET_FOR_LEADER_EPOCH: Layout = layout(
    4,
    &[
        since(3, INT32),
        all(Array(&Struct(&[
            all(Text),
            all(Array(&Struct(&[all(INT32), all(INT32), all(INT32)]))),
        ]))),
    ],
);

pub(crate) static OFFSET_COMMIT: Layout = layout(
    8,
    &[
        all(Text),
        all(INT32),
        all(Text),
        since(7, Text),
        until(4, INT64),
        all(Array(&Struct(&[
            all(Text),
            all(Array(&Struct(&[all(INT32), all(INT64), since(6, INT32), all(Text)]))),
        ]))),
    ],
);

pub(crate) static OFFSET_FETCH: Layout = layout(
    6,
    &[
        until(7, Text),
        until(7, Array(&Struct(&[all(Text), all(NUMBERS)]))),
        since(
            8,
            Array(&Struct(&[
                all(Text),
                since(9, Text),
                since(9, INT32),
                all(Array(&Struct(&[all(Text), all(NUMBERS)]))),
            ])),
        ),
        since(7, BOOL),
    ],
);

pub(crate) static OFFSET_DELETE: Layout = layout(
    i16::MAX,
    &[all(Text), all(Array(&Struct(&[all(Text), all(Array(&Struct(&[all(INT32)])))])))],
);

pub(crate) static FIND_COORDINATOR: Layout =
    layout(3, &[until(3, Text), since(1, INT8), since(4, TEXTS)]);

pub(crate) static JOIN_GROUP: Layout = layout(
    6,
    &[
        all(Text),
        all(INT32),
        since(1, INT32),
        all(Text),
        since(5, Text),
        all(Text),
        all(Array(&Struct(&[all(Text), all(Blob)]))),
        since(8, Text),
    ],
);

pub(crate) static SYNC_GROUP: Layout = layout(
    4,
    &[
        all(Text),
        all(INT32),
        all(Text),
        since(3, Text),
        since(5, Text),
        since(5, Text),
        all(Array(&Struct(&[all(Text), all(Blob)]))),
    ],
);

pub(crate) static HEARTBEAT: Layout =
    layout(4, &[all(Text), all(INT32), all(Text), since(3, Text)]);

pub(crate) static LEAVE_GROUP: Layout = layout(
    4,
    &[all(Text), until(2, Text), since(3, Array(&Struct(&[all(Text), all(Text), since(5, Text)])))],
);

pub(crate) static DESCRIBE_GROUPS: Layout = layout(5, &[all(TEXTS), since(3, BOOL)]);

pub(crate) static LIST_GROUPS: Layout = layout(3, &[since(4, TEXTS), since(5, TEXTS)]);

pub(crate) static DELETE_GROUPS: Layout = layout(2, &[all(TEXTS)]);

pub(crate) static INIT_PRODUCER_ID: Layout =
    layout(2, &[all(Text), all(INT32), since(3, INT64), since(3, INT16)]);

pub(crate) static ADD_PARTITIONS_TO_TXN: Layout = layout(
    3,
    &[all(Text), all(INT64), all(INT16), all(Array(&Struct(&[all(Text), all(NUMBERS)])))],
);

pub(crate) static ADD_OFFSETS_TO_TXN: Layout =
    layout(3, &[all(Text), all(INT64), all(INT16), all(Text)]);

pub(crate) static END_TXN: Layout = layout(3, &[all(Text), all(INT64), all(INT16), all(BOOL)]);

pub(crate) static TXN_OFFSET_COMMIT: Layout = layout(
    3,
    &[
        all(Text),
        all(Text),
        all(INT64),
        all(INT16),
        since(3, INT32),
        since(3, Text),
        since(3, Text),
        all(Array(&Struct(&[
            all(Text),
            all(Array(&Struct(&[all(INT32), all(INT64), since(2, INT32), all(Text)]))),
        ]))),
    ],
);

pub(crate) static CREATE_TOPICS: Layout = layout(
    5,
    &[
        all(Array(&Struct(&[
            all(Text),
            all(INT32),
            all(INT16),
            all(Array(&Struct(&[all(INT32), all(NUMBERS)]))),
            all(Array(&Struct(&[all(Text), all(Text)]))),
        ]))),
        all(INT32),
        all(BOOL),
    ],
);

pub(crate) static DELETE_TOPICS: Layout =
    layout(4, &[since(6, Array(&Struct(&[all(Text), all(UUID)]))), until(5, TEXTS), all(INT32)]);

pub(crate) static DESCRIBE_CONFIGS: Layout = layout(
    4,
    &[all(Array(&Struct(&[all(INT8), all(Text), all(TEXTS)]))), all(BOOL), since(3, BOOL)],
);

pub(crate) static ALTER_CONFIGS: Layout = layout(
    2,
    &[
        all(Array(&Struct(&[all(INT8), all(Text), all(Array(&Struct(&[all(Text), all(Text)])))]))),
        all(BOOL),
    ],
);

pub(crate) static INCREMENTAL_ALTER_CONFIGS: Layout = layout(
    1,
    &[
        all(Array(&Struct(&[
            all(INT8),
            all(Text),
            all(Array(&Struct(&[all(Text), all(INT8), all(Text)]))),
        ]))),
        all(BOOL),
    ],
);

pub(crate) static DESCRIBE_CLIENT_QUOTAS: Layout =
    layout(1, &[all(Array(&Struct(&[all(Text), all(INT8), all(Text)]))), all(BOOL)]);

pub(crate) static ALTER_CLIENT_QUOTAS: Layout = layout(
    1,
    &[
        all(Array(&Struct(&[
            all(Array(&Struct(&[all(Text), all(Text)]))),
            all(Array(&Struct(&[all(Text), all(FLOAT64), all(BOOL)]))),
        ]))),
        all(BOOL),
    ],
);

pub(crate) static DESCRIBE_CLUSTER: Layout =
    layout(0, &[all(BOOL), since(1, INT8), since(2, BOOL)]);

pub(crate) static DESCRIBE_LOG_DIRS: Layout =
    layout(2, &[all(Array(&Struct(&[all(Text), all(NUMBERS)])))]);

pub(crate) static CONSUMER_GROUP_HEARTBEAT: Layout = layout(
    0,
    &[
        all(Text),
        all(Text),
        all(INT32),
        all(Text),
        all(Text),
        all(INT32),
        all(TEXTS),
        since(1, Text),
        all(Text),
        all(Array(&Struct(&[all(UUID), all(NUMBERS)]))),
    ],
);

pub(crate) static CONSUMER_GROUP_DESCRIBE: Layout = layout(0, &[all(TEXTS), all(BOOL)]);

pub(crate) static DELETE_RECORDS: Layout = layout(
    2,
    &[
        all(Array(&Struct(&[all(Text), all(Array(&Struct(&[all(INT32), all(INT64)])))]))),
        all(INT32),
    ],
);

pub(crate) static CREATE_PARTITIONS: Layout = layout(
    2,
    &[
        all(Array(&Struct(&[all(Text), all(INT32), all(Array(&Struct(&[all(NUMBERS)])))]))),
        all(INT32),
        all(BOOL),
    ],
);

pub(crate) static DESCRIBE_TOPIC_PARTITIONS: Layout = layout(
    0,
    &[all(Array(&Struct(&[all(Text)]))), all(INT32), all(Optional(&[all(Text), all(INT32)]))],
);

pub(crate) static DESCRIBE_PRODUCERS: Layout =
    layout(0, &[all(Array(&Struct(&[all(Text), all(NUMBERS)])))]);

pub(crate) static DESCRIBE_TRANSACTIONS: Layout = layout(0, &[all(TEXTS)]);

pub(crate) static LIST_TRANSACTIONS: Layout =
    layout(0, &[all(TEXTS), all(Array(&INT64)), since(1, INT64), since(2, Text)]);

pub(crate) static WRITE_TXN_MARKERS: Layout = layout(
    1,
    &[all(Array(&Struct(&[
        all(INT64),
        all(INT16),
        all(BOOL),
        all(Array(&Struct(&[all(Text), all(NUMBERS)]))),
        all(INT32),
    ])))],
);

/// Topics with partitions.
const PLACES: Kind = Array(&Struct(&[all(Text), all(NUMBERS)]));

pub(crate) static ALTER_REPLICA_LOG_DIRS: Layout =
    layout(2, &[all(Array(&Struct(&[all(Text), all(PLACES)])))]);

pub(crate) static ELECT_LEADERS: Layout = layout(2, &[since(1, INT8), all(PLACES), all(INT32)]);

pub(crate) static ALTER_PARTITION_REASSIGNMENTS: Layout = layout(
    0,
    &[
        all(INT32),
        since(1, BOOL),
        all(Array(&Struct(&[all(Text), all(Array(&Struct(&[all(INT32), all(NUMBERS)])))]))),
    ],
);

pub(crate) static LIST_PARTITION_REASSIGNMENTS: Layout = layout(0, &[all(INT32), all(PLACES)]);

pub(crate) static DESCRIBE_QUORUM: Layout =
    layout(0, &[all(Array(&Struct(&[all(Text), all(Array(&Struct(&[all(INT32)])))])))]);

pub(crate) static LIST_CONFIG_RESOURCES: Layout = layout(0, &[since(1, Array(&INT8))]);

pub(crate) static SASL_HANDSHAKE: Layout = layout(i16::MAX, &[all(Text)]);

pub(crate) static SASL_AUTHENTICATE: Layout = layout(2, &[all(Blob)]);

/// An ACL, and a filter for some.
const ACL: &[Field] =
    &[all(INT8), all(Text), since(1, INT8), all(Text), all(Text), all(INT8), all(INT8)];

pub(crate) static DESCRIBE_ACLS: Layout = layout(2, ACL);

pub(crate) static CREATE_ACLS: Layout = layout(2, &[all(Array(&Struct(ACL)))]);

pub(crate) static DELETE_ACLS: Layout = layout(2, &[all(Array(&Struct(ACL)))]);

pub(crate) static DESCRIBE_USER_SCRAM_CREDENTIALS: Layout =
    layout(0, &[all(Array(&Struct(&[all(Text)])))]);

pub(crate) static ALTER_USER_SCRAM_CREDENTIALS: Layout = layout(
    0,
    &[
        all(Array(&Struct(&[all(Text), all(INT8)]))),
        all(Array(&Struct(&[all(Text), all(INT8), all(INT32), all(Blob), all(Blob)]))),
    ],
);
