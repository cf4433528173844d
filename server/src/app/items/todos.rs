//! Todos: a task in a room, who has to do it, until when, and who did it.

use super::kind::{ItemKind, check_stays, check_texts};
use crate::{
    app::{
        Error, Result,
        access::{ItemRight, Writing},
    },
    live::Refusal,
};
use chrono::Datelike;
use roost_schema::{
    ErrorCode, MessageText, Name, Patched, Rest, SortKey, Term, Title, TodoDone, TodoDraft,
    TodoPatch, TodoState,
};
use std::ops::RangeInclusive;

/// Labels of one todo.
const LABELS_MAX: usize = 20;
const TOO_MANY_LABELS: Error = Error::Invalid {
    field: "labels",
    problem: "has more than 20",
};

/// The years of a date in RFC 3339.
const YEARS: RangeInclusive<i32> = 0..=9_999;
const NO_DAY: Error = Error::Invalid {
    field: "due",
    problem: "is not a day of the years 0 to 9999",
};

impl ItemKind for TodoState {
    const WRITE: ItemRight = ItemRight::Write;
    const NOT_YOURS: Option<Refusal> = None;
    const MISSING: Refusal = Refusal {
        code: ErrorCode::NotFound,
        sentence: "there is no such todo here",
    };
    const TERMS: &'static [&'static str] = &["to", "due"];

    type Draft = TodoDraft;
    type Patch = TodoPatch;

    fn check(mut patch: TodoPatch) -> Result<TodoPatch> {
        check_texts::<Title>("title", patch.title.value_mut())?;
        check_stays("title", &patch.title)?;
        check_texts::<MessageText>("notes", patch.notes.value_mut())?;
        check_texts::<SortKey>("order", patch.order.value_mut())?;
        let labels = patch
            .labels
            .value_mut()
            .map_or(&mut [][..], Vec::as_mut_slice);
        if labels.len() > LABELS_MAX {
            return Err(TOO_MANY_LABELS);
        }
        check_texts::<Name>("labels", labels)?;
        if patch
            .due
            .value_mut()
            .is_some_and(|day| !YEARS.contains(&day.year()))
        {
            return Err(NO_DAY);
        }
        Ok(patch)
    }

    fn create(patch: &TodoPatch, by: &Writing) -> Self {
        let blank = Self {
            author_id: by.user_id(),
            created_at: by.at(),
            title: String::new(),
            notes: None,
            done: None,
            assignee_id: None,
            due: None,
            labels: Vec::new(),
            order: SortKey::MIDDLE.to_owned(),
            rest: Rest::default(),
        };
        blank.patch(patch, by)
    }

    fn patch(self, patch: &TodoPatch, by: &Writing) -> Self {
        let patch = patch.clone();
        let (by_id, at) = (by.user_id(), by.at());
        let middle = SortKey::MIDDLE.to_owned();
        Self {
            title: patch.title.or(Some(self.title)).unwrap_or_default(),
            notes: patch.notes.or(self.notes),
            done: match patch.done {
                Patched::Stays => self.done,
                Patched::Is(true) => self.done.or(Some(TodoDone { by_id, at })),
                Patched::Is(false) | Patched::Goes => None,
            },
            assignee_id: patch.assignee_id.or(self.assignee_id),
            due: patch.due.or(self.due),
            labels: patch.labels.or(Some(self.labels)).unwrap_or_default(),
            order: patch.order.or(Some(self.order)).unwrap_or(middle),
            ..self
        }
    }

    fn draft(self) -> TodoDraft {
        TodoDraft {
            title: self.title,
            notes: self.notes,
            done: Some(self.done.is_some()),
            assignee_id: self.assignee_id,
            due: self.due,
            labels: Some(self.labels),
            order: Some(self.order),
        }
    }

    fn terms(&self) -> Vec<Term> {
        let to = self.assignee_id.map(|user| Term::new("to", user));
        let due = self.due.map(|day| Term::new("due", day));
        to.into_iter().chain(due).collect()
    }
}
