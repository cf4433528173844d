//! Every search on `MongoDB` is bound to an index. The test looks at the commands that the driver sent.
//!
//! The server of the tests may be a stand-in, whose `explain` shows a sort above each ordered range of an index, and a
//! scan of the collection where `MongoDB` uses a partial index that the filter implies. So each command is compared with
//! the indexes themselves, and explained where the stand-in uses the same index.

use super::{
    entries::{append, entry, found_by},
    stores::Store,
};
use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::{
    IndexModel,
    event::{EventHandler, command::CommandEvent},
    options::ClientOptions,
};
use roost_schema::{Direction, Kind, RoomId, Seq, Term};
use roost_server::store::journal::{FIND_ROOMS_MAX, FindQuery, FindRoom, Journal, MongoJournal};
use std::sync::{Arc, Mutex};

const ITEMS: u64 = 20;

#[tokio::test]
async fn searches_are_bound_to_an_index() {
    let store = Store::mongo().await;
    let caller = Caller::new(&store).await;
    for direction in [Direction::Newer, Direction::Older] {
        for rooms in [1, FIND_ROOMS_MAX] {
            for beyond in [None, Some(Seq(ITEMS / 2))] {
                let all = FindQuery::all(Kind::Message, direction, 50);
                let by_term = FindQuery {
                    term: Some(Term::new("to", "ann")),
                    ..all.clone()
                };
                let by_kind = caller.searches(rooms, beyond, all).await;
                caller.assert_bound(&by_kind, "journal_history").await;
                let by_term = caller.searches(rooms, beyond, by_term).await;
                caller.assert_bound(&by_term, "journal_terms").await;
            }
        }
    }
    store.remove().await;
}

/// A journal with one full room, and the `find` commands that it sends.
struct Caller {
    database: mongodb::Database,
    indexes: Vec<IndexModel>,
    journal: Arc<MongoJournal>,
    room: RoomId,
    sent: Arc<Mutex<Vec<Document>>>,
}

impl Caller {
    async fn new(store: &Store) -> Self {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sent);
        let mut options = ClientOptions::parse(store.url()).await.unwrap();
        options.command_event_handler = Some(EventHandler::callback(move |event| {
            if let CommandEvent::Started(event) = event
                && event.command_name == "find"
            {
                seen.lock().unwrap().push(event.command);
            }
        }));
        let journal = MongoJournal::open_with(options).await.unwrap();
        let room = RoomId::generate();
        let batch: Vec<_> = (1..=ITEMS)
            .map(|seq| found_by(&["to:ann"], entry(room, seq)))
            .collect();
        append(&*journal, &batch).await;
        // Entries that no search of the room may read.
        append(&*journal, &[entry(RoomId::generate(), 1)]).await;
        let database = store.mongo_database().await;
        let entries = database.collection::<Document>("journal");
        let indexes = entries.list_indexes().await.unwrap();
        Self {
            indexes: indexes.try_collect().await.unwrap(),
            database,
            journal,
            room,
            sent,
        }
    }

    /// Searches the full room beside empty ones; answers the commands.
    async fn searches(&self, rooms: usize, beyond: Option<Seq>, query: FindQuery) -> Vec<Document> {
        self.sent.lock().unwrap().clear();
        let empty = (1..rooms).map(|_| RoomId::generate());
        let asked: Vec<_> = [self.room]
            .into_iter()
            .chain(empty)
            .map(|room| FindRoom { room, beyond })
            .collect();
        let pages = self.journal.find(&asked, query).await.unwrap();
        assert!(!pages[0].entries.is_empty());
        self.sent.lock().unwrap().clone()
    }

    /// Asserts that the ordered commands read the range of one index, and the others the newest states by item.
    async fn assert_bound(&self, searches: &[Document], index: &str) {
        let (pages, states): (Vec<_>, Vec<_>) = searches
            .iter()
            .partition(|search| search.contains_key("sort"));
        assert!(!pages.is_empty() && !states.is_empty());
        for page in pages {
            assert_eq!(self.ranges(page), [index], "{page}");
            if index == "journal_history" {
                self.assert_explained(page, index).await;
            }
        }
        for states in states {
            assert_eq!(self.ranges(states), ["journal_item"], "{states}");
            self.assert_explained(states, "journal_item").await;
        }
    }

    /// The names of the indexes of which a command reads one range, in its order: the index begins with the fields that
    /// the filter fixes, and goes on with the order.
    fn ranges(&self, search: &Document) -> Vec<String> {
        let filter = search.get_document("filter").unwrap();
        let is_fixed = |field: &&String| !matches!(filter.get(*field), Some(Bson::Document(_)));
        let (fixed, ranged): (Vec<_>, Vec<_>) = filter.keys().partition(is_fixed);
        let ordered = search.get_document("sort").cloned().unwrap_or_default();
        let is_range = |index: &&IndexModel| {
            let keys: Vec<_> = index.keys.keys().collect();
            let (first, rest) = keys.split_at(fixed.len().min(keys.len()));
            fixed.iter().all(|field| first.contains(field))
                && rest.iter().zip(ordered.keys()).all(|(key, by)| *key == by)
                && rest.len() >= ordered.len()
                && rest
                    .first()
                    .is_some_and(|next| ranged.iter().all(|field| field == next))
                && covers(index, filter)
        };
        let found = self.indexes.iter().filter(is_range);
        let name = |index: &IndexModel| index.options.clone()?.name;
        found.filter_map(name).collect()
    }

    /// Asserts that the server reads this index, and of it only the entries that the command answers.
    async fn assert_explained(&self, search: &Document, index: &str) {
        let mut explained = doc! { "find": "journal" };
        for field in ["filter", "sort"] {
            if let Some(value) = search.get(field) {
                explained.insert(field, value.clone());
            }
        }
        let explain = doc! { "explain": explained, "verbosity": "executionStats" };
        let explained = self.database.run_command(explain).await.unwrap();
        let planner = explained.get_document("queryPlanner").unwrap();
        let mut stages = vec![planner.get_document("winningPlan").unwrap()];
        while let Ok(below) = stages[stages.len() - 1].get_document("inputStage") {
            stages.push(below);
        }
        let last = stages[stages.len() - 1];
        assert_eq!(last.get_str("stage").unwrap(), "IXSCAN", "{explained}");
        assert_eq!(last.get_str("indexName").unwrap(), index, "{explained}");
        let statistics = explained.get_document("executionStats").unwrap();
        let number = |name| statistics.get(name).and_then(whole).unwrap();
        assert_eq!(
            number("totalDocsExamined"),
            number("nReturned"),
            "{explained}"
        );
    }
}

/// Whether a partial index has every entry that the filter selects.
fn covers(index: &IndexModel, filter: &Document) -> bool {
    let options = index.options.as_ref();
    let only = options.and_then(|options| options.partial_filter_expression.as_ref());
    let exists = Bson::Document(doc! { "$exists": true });
    only.into_iter().flatten().all(|(field, value)| {
        filter.get(field) == Some(value) || (*value == exists && filter.contains_key(field))
    })
}

fn whole(number: &Bson) -> Option<i64> {
    match number {
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some(*number),
        _ => None,
    }
}
