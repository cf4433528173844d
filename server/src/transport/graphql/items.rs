//! Items of every kind: read by one interface, written by one mutation.

use super::{
    auth::caller,
    item_input::ItemInput,
    loaders,
    rooms::{RoomNode, page_cost},
};
use crate::{
    app::{Error, ItemQuery, Result},
    transport::{Shared, refusal_metrics},
};
use async_graphql::{ComplexObject, Context, Interface, Object, SimpleObject};
use roost_schema::{
    BatchItems, Body, Direction, FoundItems, Item, ItemId, ItemOp, ItemOutcome, ItemPage,
    ItemState, Kind, OpId, PageQuery, Position, RoomId, Seq, Term, User, UserId,
};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct ItemsQuery;

#[Object]
impl ItemsQuery {
    /// A page of the room's items of a kind, as they were made: from the newest to the oldest, or the other way. With a term
    /// only those that have it, such as `to:<user id>`.
    #[graphql(complexity = "page_cost(limit, child_complexity)")]
    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of a field are those of its method"
    )]
    async fn items(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        kind: String,
        term: Option<Term>,
        direction: Option<Direction>,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<ItemPageNode> {
        let (app, actor) = caller(ctx).await?;
        let query = ItemQuery::parse(&kind, term, direction.unwrap_or_default())?;
        let page = PageQuery { limit, cursor };
        let page = app.list_items(&actor, room, query, page).await?;
        Ok(ItemPageNode::of_room(ctx, page).await)
    }

    /// A page of the items of a kind in all your rooms: by room, in each as they were made. It may be empty and have a next.
    #[graphql(complexity = "page_cost(limit, child_complexity)")]
    async fn my_items(
        &self,
        ctx: &Context<'_>,
        kind: String,
        term: Option<Term>,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<ItemPageNode> {
        let (app, actor) = caller(ctx).await?;
        let query = ItemQuery::parse(&kind, term, Direction::Newer)?;
        let page = PageQuery { limit, cursor };
        let FoundItems {
            items,
            next,
            corrupt_rooms,
        } = app.find_items(&actor, query, page).await?;
        Ok(ItemPageNode {
            items: nodes(ctx, items).await,
            next,
            position: None,
            corrupt_rooms,
        })
    }

    /// An item, whatever its kind.
    async fn item(&self, ctx: &Context<'_>, room: RoomId, item: ItemId) -> Result<ItemNode> {
        let (app, actor) = caller(ctx).await?;
        app.read_item(&actor, room, item).await.map(ItemNode::from)
    }
}

#[derive(Default)]
pub(super) struct ItemsMutation;

#[Object]
impl ItemsMutation {
    /// Makes up to 200 changes of items of a room, in this order, each by itself: one that is refused leaves the others.
    /// Of more than one, the change with number n, counted from 0, has the operation id `<opId>:<n>`; one alone has `opId` itself.
    #[graphql(complexity = "ops.len() * child_complexity + 1")]
    async fn put_items(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        op_id: Option<OpId>,
        ops: Vec<ItemInput>,
    ) -> Result<Vec<ItemOutcome>> {
        let (app, actor) = caller(ctx).await?;
        let limits = &ctx.data_unchecked::<Shared>().limits;
        limits.check_batch(actor.user_id, ops.len()).await?;
        let ops = ops.into_iter().map(ItemOp::try_from);
        let ops = ops.collect::<Result<_, _>>()?;
        let input = BatchItems { room, op_id, ops };
        let done = app.batch_items(&actor, input).outcome().await?;
        refusal_metrics::count_changes(actor.api, &done);
        Ok(done.outcomes)
    }
}

/// What every item has, whatever its kind.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct ItemFields {
    pub(super) id: ItemId,
    pub(super) room_id: RoomId,
    /// The version: the seq of the item's newest entry. Give it as `ifMatch` to change it.
    pub(super) seq: Seq,
    pub(super) kind: Kind,
    #[graphql(skip)]
    pub(super) author: Option<UserId>,
}

#[ComplexObject]
impl ItemFields {
    /// Absent when the account is gone.
    pub(super) async fn author(&self, ctx: &Context<'_>) -> Result<Option<User>, Arc<Error>> {
        match self.author {
            Some(author) => loaders::person(ctx, author).await,
            None => Ok(None),
        }
    }

    /// The room it is in; absent when you are no longer in it.
    pub(super) async fn room(&self, ctx: &Context<'_>) -> Result<Option<RoomNode>, Arc<Error>> {
        let room = loaders::room(ctx, self.room_id).await?;
        Ok(room.map(RoomNode::from))
    }

    /// The items of the room that refer to this one: of a kind, and by what they say of it, such as `on`. Each counts as a
    /// request of its own, because what an interface's field costs is not known beforehand.
    #[graphql(complexity = "page_cost(limit, child_complexity)")]
    pub(super) async fn related(
        &self,
        ctx: &Context<'_>,
        relation: String,
        kind: String,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<ItemPageNode> {
        let (app, actor) = caller(ctx).await?;
        let term = format!("{relation}:{}", self.id).parse();
        let term = term.map_err(|roost_schema::Invalid(problem)| Error::Invalid {
            field: "relation",
            problem,
        })?;
        let query = ItemQuery::parse(&kind, Some(term), Direction::Newer)?;
        let page = PageQuery { limit, cursor };
        let page = app.list_items(&actor, self.room_id, query, page).await?;
        Ok(ItemPageNode::of_room(ctx, page).await)
    }
}

/// A page of items.
#[derive(SimpleObject)]
#[graphql(name = "ItemPage")]
pub(super) struct ItemPageNode {
    items: Vec<ItemNode>,
    /// Give it back as `cursor` for the next page; absent on the last one.
    next: Option<String>,
    /// The room's position before the first page was read: follow the room after it to miss nothing. Absent for items of
    /// many rooms.
    position: Option<Position>,
    /// Of items of many rooms: rooms that were left out, because what is stored of them is damaged.
    corrupt_rooms: Vec<RoomId>,
}

impl ItemPageNode {
    async fn of_room(ctx: &Context<'_>, page: ItemPage) -> Self {
        Self {
            items: nodes(ctx, page.items).await,
            next: page.next,
            position: Some(page.position),
            corrupt_rooms: Vec::new(),
        }
    }
}

impl From<Item> for ItemNode {
    fn from(item: Item) -> Self {
        kinds::node(item)
    }
}

/// The items as they are shown. Their authors are read at once, if the query asks for them.
async fn nodes(ctx: &Context<'_>, items: Vec<Item>) -> Vec<ItemNode> {
    let nodes: Vec<_> = items.into_iter().map(ItemNode::from).collect();
    let authors = nodes.iter().filter_map(ItemNode::author_id);
    loaders::expect(ctx, "author", authors).await;
    nodes
}

/// An object type for each kind that clients write, one for all others, and the interface of all of them.
mod kinds {
    use super::{
        Body, Context, Error, Interface, Item, ItemFields, ItemId, ItemPageNode, ItemState, Kind,
        Result, RoomId, RoomNode, Seq, SimpleObject, User, UserId,
    };
    use std::sync::Arc;

    /// Items of the server's own, and of a kind that this release does not know.
    #[derive(SimpleObject)]
    pub(in super::super) struct OtherItem {
        #[graphql(flatten)]
        item: ItemFields,
        body: Body,
    }

    macro_rules! nodes {
        ($($kind:ident: $state:ident, $draft:ident, $patch:ident;)+) => {
            use roost_schema::{$($state),+};

            $(
                #[derive(SimpleObject)]
                pub(in super::super) struct $kind {
                    #[graphql(flatten)]
                    pub(in super::super) item: ItemFields,
                    #[graphql(flatten)]
                    pub(in super::super) state: $state,
                }
            )+

            nodes!(@fields $($kind)+ OtherItem);

            /// Something durable in a room.
            #[derive(Interface)]
            #[graphql(
                name = "Item",
                field(name = "id", ty = "ItemId"),
                field(name = "room_id", ty = "RoomId"),
                field(name = "seq", ty = "Seq"),
                field(name = "kind", ty = "Kind"),
                field(name = "author", ty = "Option<User>"),
                field(name = "room", ty = "Option<RoomNode>"),
                field(
                    name = "related", ty = "ItemPageNode",
                    arg(name = "relation", ty = "String"), arg(name = "kind", ty = "String"),
                    arg(name = "limit", ty = "Option<u32>"), arg(name = "cursor", ty = "Option<String>")
                ),
            )]
            pub(in super::super) enum ItemNode {
                $($kind($kind),)+
                OtherItem(OtherItem),
            }

            impl ItemNode {
                pub(super) fn author_id(&self) -> Option<UserId> {
                    match self {
                        $(Self::$kind(node) => node.item.author,)+
                        Self::OtherItem(node) => node.item.author,
                    }
                }
            }

            /// An item whose state cannot be read is shown as it is kept.
            pub(super) fn node(item: Item) -> ItemNode {
                let fields = |author| ItemFields {
                    id: item.id,
                    room_id: item.room_id,
                    seq: item.seq,
                    kind: item.kind.clone(),
                    author,
                };
                match item.kind {
                    $(Kind::$kind => if let Ok(state) = item.body.decode::<$state>() {
                        let item = fields(Some(state.author()));
                        return ItemNode::$kind($kind { item, state });
                    })+
                    Kind::Room | Kind::Member | Kind::Session | Kind::Other(_) => {}
                }
                let body = item.body.clone();
                ItemNode::OtherItem(OtherItem { item: fields(None), body })
            }
        };
        // What the interface asks of each type; a derived object has them for queries only.
        (@fields $($node:ident)+) => {
            $(
                impl $node {
                    async fn id(&self, _: &Context<'_>) -> Result<ItemId> {
                        Ok(self.item.id)
                    }

                    async fn room_id(&self, _: &Context<'_>) -> Result<RoomId> {
                        Ok(self.item.room_id)
                    }

                    async fn seq(&self, _: &Context<'_>) -> Result<Seq> {
                        Ok(self.item.seq)
                    }

                    async fn kind(&self, _: &Context<'_>) -> Result<Kind> {
                        Ok(self.item.kind.clone())
                    }

                    async fn author(&self, ctx: &Context<'_>) -> Result<Option<User>, Arc<Error>> {
                        self.item.author(ctx).await
                    }

                    async fn room(&self, ctx: &Context<'_>) -> Result<Option<RoomNode>, Arc<Error>> {
                        self.item.room(ctx).await
                    }

                    async fn related(
                        &self,
                        ctx: &Context<'_>,
                        relation: String,
                        kind: String,
                        limit: Option<u32>,
                        cursor: Option<String>,
                    ) -> Result<ItemPageNode> {
                        self.item.related(ctx, relation, kind, limit, cursor).await
                    }
                }
            )+
        };
    }
    roost_schema::with_kinds!(nodes);
}
pub(super) use kinds::{ItemNode, Message as MessageNode};
