//! The topic that is measured.

use crate::args::TopicArgs;
use crate::error::Error;
use anabranch_client::{Client, ClientConfig, Error as ClientError, NewTopic};

/// Kafka's TOPIC_ALREADY_EXISTS.
const EXISTS: i16 = 36;

/// Kafka's UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN: i16 = 3;

/// Connects.
pub(crate) async fn client(args: &TopicArgs) -> Result<Client, Error> {
    let mut config = ClientConfig::new(args.bootstrap.clone());
    config.client_id = "anabranch-loadgen".to_owned();
    config.auto_create_topics = false;
    Ok(Client::connect(config).await?)
}

/// Creates the topic, after deleting it where that was asked for.
pub(crate) async fn prepare(client: &Client, args: &TopicArgs) -> Result<(), Error> {
    let admin = client.admin();
    if args.recreate {
        delete(client, &args.topic).await?;
    }
    let mut topic = NewTopic::new(args.topic.clone(), args.partitions);
    topic.configs.clone_from(&args.topic_configs);
    match admin.create_topic(topic).await {
        Ok(_) | Err(ClientError::Refused { code: EXISTS, .. }) => {
            // A created topic's leaders need a moment: asking for offsets waits for them.
            admin.offsets(&args.topic, anabranch_client::OffsetAt::End).await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The command `delete`.
pub(crate) fn run_delete(args: &TopicArgs) -> Result<(), Error> {
    crate::ingest::runtime(1)?.block_on(async { delete(&client(args).await?, &args.topic).await })
}

/// Deletes the topic and waits until it is gone.
pub(crate) async fn delete(client: &Client, topic: &str) -> Result<(), Error> {
    let admin = client.admin();
    match admin.delete_topic(topic).await {
        Err(ClientError::Refused { code: UNKNOWN, .. }) => return Ok(()),
        result => result?,
    }
    for _ in 0..1_200 {
        match admin.topic(topic).await {
            Err(ClientError::Refused { code: UNKNOWN, .. }) => return Ok(()),
            _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    Err(Error::Usage(format!("topic {topic} is still there 60 s after it was deleted")))
}
