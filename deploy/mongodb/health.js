// Whether MongoDB takes writes: mongosh runs this as the health check of docker-compose.yml.
// On an empty volume it first makes the replica set, of this one member. Asked again, it changes nothing.
const admin = db.getSiblingDB('admin');
admin.auth(process.env.MONGO_INITDB_ROOT_USERNAME, process.env.MONGO_INITDB_ROOT_PASSWORD);

// Only a member whose set was not made yet says this.
if (admin.hello().isreplicaset) {
  rs.initiate({ _id: 'roost', members: [{ _id: 0, host: 'mongodb:27017' }] });
}

// While the image creates its user it runs a server without a set, which would call itself writable too.
const { setName, isWritablePrimary } = admin.hello();
quit(setName && isWritablePrimary ? 0 : 1);
