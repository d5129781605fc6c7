BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
CREATE TABLE baselines (
	type TEXT NOT NULL, 
	account TEXT NOT NULL, 
	region TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	discover TEXT NOT NULL, 
	begun_at BIGINT NOT NULL, 
	completed_at BIGINT, 
	awaited TEXT NOT NULL, 
	PRIMARY KEY (type, account, region, digest)
);
INSERT INTO "baselines" VALUES('panorama.package-import','prod','eu-west-1','59cc9c529dbc6087e107ccbb24b43266f484fc48d388ca06688d8d8678b9fd09','{"match":{"JobType":"NODE_PACKAGE_VERSION"}}',1772366400000000,NULL,'{"job-9":true}');
INSERT INTO "baselines" VALUES('panorama.package-import','prod','us-east-1','59cc9c529dbc6087e107ccbb24b43266f484fc48d388ca06688d8d8678b9fd09','{"match":{"JobType":"NODE_PACKAGE_VERSION"}}',1772366400000000,1772366460000000,'{}');
CREATE TABLE deliveries (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	position INTEGER NOT NULL, 
	sink TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	status TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	due_at BIGINT, 
	settled_at BIGINT, 
	last_error TEXT, 
	replayed BOOLEAN DEFAULT 0 NOT NULL, 
	own_created BIGINT DEFAULT 0 NOT NULL, 
	own_settled BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT deliveries_position_sink UNIQUE (position, sink), 
	CONSTRAINT deliveries_position_fkey FOREIGN KEY(position) REFERENCES transitions (position) ON DELETE CASCADE
);
INSERT INTO "deliveries" VALUES(1,1,'ops','panorama.package-import/prod/us-east-1/job-1','delivered',1,1772366400000000,NULL,1772366460000000,NULL,0,1772366400000000,1772366460000000);
INSERT INTO "deliveries" VALUES(2,1,'audit','panorama.package-import/prod/us-east-1/job-1','dead',1,1772366400000000,NULL,1772366460000000,'rejected',0,1772366400000000,1772366460000000);
INSERT INTO "deliveries" VALUES(3,2,'ops','panorama.package-import/prod/us-east-1/job-1','pending',0,1772366400000000,1772366400000000,NULL,NULL,0,1772366400000000,0);
INSERT INTO "deliveries" VALUES(4,3,'ops','panorama.package-import/prod/us-east-1/job-2','pending',1,1772366400000000,1772366760000000,NULL,'timeout',0,1772366400000000,0);
INSERT INTO "deliveries" VALUES(5,4,'ops','panorama.package-import/prod/us-east-1/job-3','pending',0,1772366400000000,1772366400000000,NULL,NULL,0,1772366400000000,0);
INSERT INTO "deliveries" VALUES(6,4,'audit','panorama.package-import/prod/us-east-1/job-3','pending',0,1772366400000000,1772366400000000,NULL,NULL,0,1772366400000000,0);
INSERT INTO "deliveries" VALUES(7,5,'ops','source:panorama/prod/us-east-1','pending',0,1772366400000000,1772366400000000,NULL,NULL,0,1772366400000000,0);
CREATE TABLE jobs (
	"key" TEXT NOT NULL, 
	type TEXT NOT NULL, 
	account TEXT NOT NULL, 
	region TEXT NOT NULL, 
	id TEXT NOT NULL, 
	snapshot TEXT NOT NULL, 
	state TEXT NOT NULL, 
	phase TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	first_seen_at BIGINT NOT NULL, 
	changed_at BIGINT NOT NULL, 
	looked_at BIGINT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "jobs" VALUES('panorama.package-import/prod/us-east-1/job-1','panorama.package-import','prod','us-east-1','job-1','{"job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-1"},"parts":{"Status":"RUNNING"},"state":"RUNNING","phase":"running","severity":"info","ending":"open","fields":{"JobType":"NODE_PACKAGE_VERSION"},"reason":null,"updated_at":null,"sequence":2,"first_seen_at":"2026-03-01T12:00:00+00:00","changed_at":"2026-03-01T12:00:00+00:00","looked_at":"2026-03-01T12:00:00+00:00","ended_at":null,"missing":false,"stuck":false,"own_changed":null,"own_ended":null,"baseline":false,"earlier_ends":{},"describe_owed":false,"parent":null,"earlier_ended":{}}','RUNNING','running',2,1772366400000000,1772366400000000,1772366460000000);
INSERT INTO "jobs" VALUES('panorama.package-import/prod/us-east-1/job-2','panorama.package-import','prod','us-east-1','job-2','{"job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-2"},"parts":{"Status":"PENDING"},"state":"PENDING","phase":"running","severity":"info","ending":"open","fields":{"JobType":"NODE_PACKAGE_VERSION"},"reason":null,"updated_at":null,"sequence":1,"first_seen_at":"2026-03-01T12:00:00+00:00","changed_at":"2026-03-01T12:00:00+00:00","looked_at":"2026-03-01T12:00:00+00:00","ended_at":null,"missing":false,"stuck":false,"own_changed":null,"own_ended":null,"baseline":false,"earlier_ends":{},"describe_owed":false,"parent":null,"earlier_ended":{}}','PENDING','running',1,1772366400000000,1772366400000000,1772366400000000);
INSERT INTO "jobs" VALUES('panorama.package-import/prod/us-east-1/job-3','panorama.package-import','prod','us-east-1','job-3','{"job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-3"},"parts":{"Status":"SUCCEEDED"},"state":"SUCCEEDED","phase":"succeeded","severity":"info","ending":"grace","fields":{"JobType":"NODE_PACKAGE_VERSION"},"reason":null,"updated_at":"2026-03-01T12:00:00+00:00","sequence":1,"first_seen_at":"2026-03-01T12:00:00+00:00","changed_at":"2026-03-01T12:00:00+00:00","looked_at":"2026-03-01T12:00:00+00:00","ended_at":"2026-03-01T12:00:00+00:00","missing":false,"stuck":false,"own_changed":"2026-03-01T12:00:00+00:00","own_ended":"2026-03-01T12:00:00+00:00","baseline":false,"earlier_ends":{},"describe_owed":false,"parent":null,"earlier_ended":{"failed":["2026-03-01T12:00:00+00:00","2026-03-01T11:59:59+00:00"]}}','SUCCEEDED','succeeded',1,1772366400000000,1772366400000000,1772366400000000);
CREATE TABLE ledger (
	ledger_id TEXT NOT NULL, 
	position BIGINT NOT NULL, 
	own_began BIGINT, 
	own_time BIGINT, 
	wall_time BIGINT, 
	PRIMARY KEY (ledger_id)
);
INSERT INTO "ledger" VALUES('fd650c62-36ff-487a-b85d-2254fa48c2db',5,1772366400000000,1772366460000000,1772366460000000);
CREATE TABLE sink_state (
	sink TEXT NOT NULL, 
	parked_at BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	PRIMARY KEY (sink)
);
INSERT INTO "sink_state" VALUES('audit',1772366460000000,'401 Unauthorized');
CREATE TABLE sources (
	"key" TEXT NOT NULL, 
	service TEXT NOT NULL, 
	account TEXT NOT NULL, 
	region TEXT NOT NULL, 
	available BOOLEAN NOT NULL, 
	sequence BIGINT NOT NULL, 
	changed_at BIGINT NOT NULL, 
	looked_at BIGINT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "sources" VALUES('source:panorama/prod/us-east-1','panorama','prod','us-east-1',0,1,1772366400000000,1772366400000000);
CREATE TABLE transitions (
	position INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	event_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	observed_at BIGINT NOT NULL, 
	event TEXT NOT NULL, 
	own_recorded BIGINT DEFAULT 0 NOT NULL, 
	PRIMARY KEY (position), 
	CONSTRAINT transitions_key_sequence UNIQUE ("key", sequence)
);
INSERT INTO "transitions" VALUES(1,'panorama.package-import/prod/us-east-1/job-1',1,'e1b927e1-44bb-599b-99fa-d1982cfb9c4d','job.state_changed',1772366400000000,'{"specversion":"1.0","id":"e1b927e1-44bb-599b-99fa-d1982cfb9c4d","source":"/aws/prod/us-east-1/panorama","subject":"job-1","type":"io.job-monitor.job.state_changed","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"job.state_changed","job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-1","key":"panorama.package-import/prod/us-east-1/job-1","labels":{"team":"vision"}},"sequence":1,"previous":null,"current":{"state":"PENDING","phase":"running"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
INSERT INTO "transitions" VALUES(2,'panorama.package-import/prod/us-east-1/job-1',2,'e5c8455c-7086-52d4-964c-10fd878685bc','job.state_changed',1772366400000000,'{"specversion":"1.0","id":"e5c8455c-7086-52d4-964c-10fd878685bc","source":"/aws/prod/us-east-1/panorama","subject":"job-1","type":"io.job-monitor.job.state_changed","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"job.state_changed","job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-1","key":"panorama.package-import/prod/us-east-1/job-1","labels":{"team":"vision"}},"sequence":2,"previous":null,"current":{"state":"PENDING","phase":"running"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
INSERT INTO "transitions" VALUES(3,'panorama.package-import/prod/us-east-1/job-2',1,'a66a0743-219f-568c-a96f-89d0efc1bc8f','job.state_changed',1772366400000000,'{"specversion":"1.0","id":"a66a0743-219f-568c-a96f-89d0efc1bc8f","source":"/aws/prod/us-east-1/panorama","subject":"job-2","type":"io.job-monitor.job.state_changed","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"job.state_changed","job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-2","key":"panorama.package-import/prod/us-east-1/job-2","labels":{"team":"vision"}},"sequence":1,"previous":null,"current":{"state":"PENDING","phase":"running"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
INSERT INTO "transitions" VALUES(4,'panorama.package-import/prod/us-east-1/job-3',1,'d75d2fe1-1e80-5370-8b14-3125d68e902b','job.state_changed',1772366400000000,'{"specversion":"1.0","id":"d75d2fe1-1e80-5370-8b14-3125d68e902b","source":"/aws/prod/us-east-1/panorama","subject":"job-3","type":"io.job-monitor.job.state_changed","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"job.state_changed","job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-3","key":"panorama.package-import/prod/us-east-1/job-3","labels":{"team":"vision"}},"sequence":1,"previous":null,"current":{"state":"PENDING","phase":"running"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
INSERT INTO "transitions" VALUES(5,'source:panorama/prod/us-east-1',1,'e8238375-0767-511e-a4a4-55475313b88c','source.unavailable',1772366400000000,'{"specversion":"1.0","id":"e8238375-0767-511e-a4a4-55475313b88c","source":"/aws/prod/us-east-1/panorama","subject":"panorama","type":"io.job-monitor.source.unavailable","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"source.unavailable","source":{"service":"panorama","account":"prod","region":"us-east-1","key":"source:panorama/prod/us-east-1"},"sequence":1,"previous":{"state":"available"},"current":{"state":"unavailable"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
CREATE TABLE watches (
	name TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	added_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "watches" VALUES('night','{"type":"panorama.package-import","account":"prod","regions":["us-east-1"]}',1772366400000000);
CREATE INDEX jobs_place ON jobs (type, account, region, phase, id);
CREATE INDEX jobs_id ON jobs (id);
CREATE INDEX jobs_compound ON jobs (id) WHERE id LIKE '%/%';
CREATE INDEX transitions_observed_at ON transitions (observed_at, kind);
CREATE INDEX transitions_own_recorded ON transitions (own_recorded);
CREATE INDEX transitions_kind ON transitions (kind, position);
CREATE INDEX deliveries_line ON deliveries (sink, "key", id, own_created, status) WHERE status = 'pending';
CREATE INDEX deliveries_first ON deliveries (sink, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_tried ON deliveries (sink, own_created, last_error, status, attempts) WHERE status = 'pending' AND attempts > 0;
CREATE INDEX deliveries_settled ON deliveries (status, sink, id) WHERE settled_at IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('deliveries',7);
COMMIT;
