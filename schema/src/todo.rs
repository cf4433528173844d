//! Todos.

use crate::{
    UserId,
    kind::{kept, written},
};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

kept! {
    /// What is to be done in a room: everybody's who may write there.
    TodoState {
        title: String [value_type = crate::Title],
        notes: Option<String> [value_type = Option<crate::MessageText>],
        /// Absent while it is to be done.
        done: Option<TodoDone> [value_type = Option<TodoDone>],
        assignee_id: Option<UserId> [value_type = Option<UserId>],
        due: Option<NaiveDate> [value_type = Option<NaiveDate>],
        labels: Vec<String> [value_type = Vec<crate::Name>, max_items = 20],
        /// Its place in a list; those with the same are ordered by id.
        order: String [value_type = crate::SortKey],
    }
}

/// Who did a todo, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TodoDone {
    pub by_id: UserId,
    pub at: DateTime<Utc>,
}

written! {
    /// What is written of a new todo.
    TodoDraft,
    /// What is changed of a todo.
    TodoPatch
    {
        title: String [value_type = crate::Title],
    }
    {
        notes: String [value_type = Option<crate::MessageText>],
        done: bool [value_type = Option<bool>],
        assignee_id: UserId [value_type = Option<UserId>],
        due: NaiveDate [value_type = Option<NaiveDate>],
        labels: Vec<String> [value_type = Option<Vec<crate::Name>>, max_items = 20],
        order: String [value_type = Option<crate::SortKey>],
    }
}
