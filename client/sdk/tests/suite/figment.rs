//! Programs that already read their settings with figment: what they have is the defaults under the store,
//! and what came of it goes where figment is expected.

use figment::{Figment, providers::Serialized};
use serde::{Deserialize, Serialize};

use crate::fake::Cluster;

#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Shop {
    greeting: String,
    seconds: u64,
    database: Database,
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Database {
    host: String,
    port: u16,
}

#[tokio::test]
async fn what_figment_read_is_under_the_store_and_what_came_of_it_is_a_provider() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    client.put("shop/database/host", "db-7").await.unwrap();
    client.put("shop/greeting", "hello").await.unwrap();
    // In earnest a file and the environment.
    let read = Figment::new()
        .merge(Serialized::default("greeting", "from a file"))
        .merge(Serialized::default("seconds", 5))
        .merge(Serialized::default("database.host", "localhost"))
        .merge(Serialized::default("database.port", 5432));
    let defaults: serde_json::Value = read.extract().unwrap();
    let config = client.config::<Shop>("shop/").defaults(defaults);
    let config = config.open().await.unwrap();
    let database = |host: &str| Database {
        host: host.to_owned(),
        port: 5432,
    };
    let expected = Shop {
        greeting: "hello".to_owned(),
        seconds: 5,
        database: database("db-7"),
    };
    assert_eq!(*config.load(), expected);

    let whole = Figment::from(Serialized::defaults(&*config.load_full()))
        .merge(Serialized::default("seconds", 9));
    let expected = Shop {
        seconds: 9,
        ..expected
    };
    assert_eq!(whole.extract::<Shop>().unwrap(), expected);
}
