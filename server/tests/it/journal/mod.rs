//! The contract of the journal, held by each store: `SQLite`, `PostgreSQL`, `MongoDB`.

mod entries;
pub(crate) mod fault_proxy;
mod images;
mod stores;
mod writer;

/// Runs contract tests on each of the named stores, each test with its own database.
macro_rules! on {
    ([$($store:ident),+] $contract:ident: $($name:ident),+ $(,)?) => {
        on!(@each ($($name),+) $contract $($store)+);
    };
    (@each $names:tt $contract:ident $($store:ident)+) => {
        $(on!(@store $names $contract $store);)+
    };
    (@store ($($name:ident),+) $contract:ident $store:ident) => {
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let store = $crate::journal::stores::Store::$store().await;
                super::$contract::$name(&store).await;
                store.remove().await;
            })+
        }
    };
}

mod durability;
mod faults;
mod finding;
mod gates;
mod locks;
mod mongo_plans;
mod outcomes;
mod plans;
mod reading;
mod rivals;
mod terms;
mod writing;
