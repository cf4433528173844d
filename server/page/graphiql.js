// GraphiQL on this server's schema: HTTP for queries and mutations, graphql-transport-ws for
// subscriptions. The access token is written under "Headers", and used for both.

const QUERY = `# Sign in, then put the token under "Headers" below:
#   {"Authorization": "Bearer …"}

mutation SignUp {
  register(input: { name: "Ann", email: "ann@example.com", password: "correct horse" }) {
    accessToken
    user { id roomId }
  }
}

query Rooms {
  rooms { items { id type title role createdBy { name } } }
}

subscription Follow($room: RoomId!) {
  roomEvents(room: $room) { live position events { seq kind op body } }
}
`;

let headers = {};

const address = new URL("/graphql", location.href);
const socketAddress = new URL(address);
socketAddress.protocol = address.protocol.replace("http", "ws");

const wsClient = graphqlWs.createClient({
  url: socketAddress.href,
  lazy: true,
  lazyCloseTimeout: 0,
  connectionParams: () => headers,
});

const fetcher = GraphiQL.createFetcher({ url: address.href, wsClient });

function rememberHeaders(text) {
  try {
    headers = JSON.parse(text);
  } catch {
    // Half typed: what was there before goes on being used.
  }
}

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher,
    defaultQuery: QUERY,
    defaultHeaders: '{"Authorization": "Bearer "}',
    onEditHeaders: rememberHeaders,
  }),
);
