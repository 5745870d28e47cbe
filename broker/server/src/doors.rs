//! The doors: their settings, their addresses, and how they are closed together.

use crate::metrics;
use crate::serve::ServeError;
use crate::settings::{Advertise, Count, Settings, SettingsError};
use anabranch_kafka::{HostPort, KafkaDoor, KafkaSettings, Listener};
use anabranch_net::{Encryption, Rules};
use anabranch_postgres::{PostgresDoor, PostgresSettings};
use anabranch_web::WebDoor;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long doors may take to finish what their clients have begun.
const CLOSING_MAX: Duration = Duration::from_secs(10);

pub(crate) type DoorError = Box<dyn Error + Send + Sync>;

/// Takes the addresses of the Kafka door; `None` if it is off.
pub(crate) fn bind_kafka(
    settings: &Settings,
    encryption: &Encryption,
) -> Result<Option<KafkaDoor>, SettingsError> {
    let key = "kafka.listen";
    let Some(listen) = settings.kafka.listen.address(key)? else { return Ok(None) };
    let advertise = match &settings.kafka.advertise {
        Advertise::Auto => None,
        Advertise::At(at) => Some(HostPort { host: at.host.clone(), port: at.port }),
    };
    let door = KafkaDoor::bind(KafkaSettings {
        listeners: vec![Listener { listen, advertise }],
        rules: rules(
            settings.kafka.connections_max,
            settings.kafka.connections_per_address_max,
            encryption,
        ),
        ..KafkaSettings::default()
    });
    match door {
        Ok(door) => Ok(Some(door)),
        Err(anabranch_kafka::ServeError::Listen { address, error }) => {
            Err(SettingsError::bind(key, address, error))
        }
        Err(anabranch_kafka::ServeError::NoListener) => unreachable!("there is one"),
    }
}

/// Takes the addresses of the PostgreSQL door; `None` if it is off.
pub(crate) fn bind_postgres(
    settings: &Settings,
    encryption: &Encryption,
) -> Result<Option<PostgresDoor>, SettingsError> {
    let key = "postgres.listen";
    let Some(listen) = settings.postgres.listen.address(key)? else { return Ok(None) };
    let door = PostgresDoor::bind(PostgresSettings {
        listen: vec![listen],
        rules: rules(
            settings.postgres.connections_max,
            settings.postgres.connections_per_address_max,
            encryption,
        ),
    });
    match door {
        Ok(door) => Ok(Some(door)),
        Err(anabranch_postgres::ServeError::Listen { address, error }) => {
            Err(SettingsError::bind(key, address, error))
        }
        Err(anabranch_postgres::ServeError::NoListener) => unreachable!("there is one"),
    }
}

/// Takes the address of the web door, which shows the metrics of the others; `None` if it is off.
pub(crate) fn bind_web(
    settings: &Settings,
    encryption: &Encryption,
    kafka: Option<&KafkaDoor>,
    postgres: Option<&PostgresDoor>,
) -> Result<Option<WebDoor>, SettingsError> {
    let key = "web.listen";
    let Some(listen) = settings.web.listen.address(key)? else { return Ok(None) };
    let mut collect = Vec::new();
    if let Some(kafka) = kafka {
        collect.push(metrics::connections("kafka", kafka.connections()));
        collect.push(metrics::kafka(kafka.metrics()));
    }
    if let Some(postgres) = postgres {
        collect.push(metrics::connections("postgres", postgres.connections()));
    }
    let door = WebDoor::bind(
        listen,
        anabranch_web::Settings {
            rules: rules(
                settings.web.connections_max,
                settings.web.connections_per_address_max,
                encryption,
            ),
            allowed_origins: settings.web.allowed_origins.clone(),
            collect,
            ..anabranch_web::Settings::default()
        },
    );
    let anabranch_web::ServeError::Listen { address, error } = match door {
        Ok(door) => return Ok(Some(door)),
        Err(error) => error,
    };
    Err(SettingsError::bind(key, address, error))
}

/// Who is let in.
fn rules(
    connections_max: Count,
    connections_per_address_max: Count,
    encryption: &Encryption,
) -> Rules {
    Rules {
        connections_max: connections_max.get(),
        connections_per_address_max: connections_per_address_max.get(),
        encryption: encryption.clone(),
        ..Rules::default()
    }
}

/// The doors that are open.
#[derive(Default)]
pub(crate) struct Doors {
    /// Tells all of them to close.
    pub(crate) stop: CancellationToken,
    running: JoinSet<(&'static str, Result<(), DoorError>)>,
}

impl Doors {
    /// Opens a door. `serving` ends after `stop`, and by itself only when it has failed.
    pub(crate) fn open(
        &mut self,
        door: &'static str,
        addresses: &[SocketAddr],
        serving: impl Future<Output = Result<(), DoorError>> + Send + 'static,
    ) {
        for address in addresses {
            tracing::info!(door, %address, "{door} on {address}");
        }
        self.running.spawn(async move { (door, serving.await) });
    }

    /// Waits until a door ends, which none should; for ever if there is none.
    pub(crate) async fn failed(&mut self) -> ServeError {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(Ok((door, Err(source)))) => ServeError::Door { door, source },
            Some(Ok((door, Ok(())))) => ServeError::DoorEnded { door },
            Some(Err(panic)) => ServeError::Door { door: "unknown", source: panic.into() },
        }
    }

    /// Tells all doors to close, and waits until they have, but not for ever.
    pub(crate) async fn close(mut self) {
        self.stop.cancel();
        let closing = async {
            while let Some(ended) = self.running.join_next().await {
                match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((door, Err(error))) => tracing::error!(door, "while closing: {error}"),
                    Err(panic) => tracing::error!("while closing: {panic}"),
                }
            }
        };
        if tokio::time::timeout(CLOSING_MAX, closing).await.is_err() {
            tracing::warn!("some connections did not close in {CLOSING_MAX:?}: dropped");
        }
    }
}
