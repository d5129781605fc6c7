BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
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
INSERT INTO "baselines" VALUES('panorama.package-import','prod','us-east-1','59cc9c529dbc6087e107ccbb24b43266f484fc48d388ca06688d8d8678b9fd09','{"match":{"JobType":"NODE_PACKAGE_VERSION"}}',1772366400000000,1772366460000000,'{}');
INSERT INTO "baselines" VALUES('panorama.package-import','prod','eu-west-1','59cc9c529dbc6087e107ccbb24b43266f484fc48d388ca06688d8d8678b9fd09','{"match":{"JobType":"NODE_PACKAGE_VERSION"}}',1772366400000000,NULL,'{"job-9":true}');
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
INSERT INTO "jobs" VALUES('panorama.package-import/prod/us-east-1/job-1','panorama.package-import','prod','us-east-1','job-1','{"job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-1"},"parts":{"Status":"RUNNING"},"state":"RUNNING","phase":"running","severity":"info","ending":"open","fields":{"JobType":"NODE_PACKAGE_VERSION"},"reason":null,"updated_at":null,"sequence":2,"first_seen_at":"2026-03-01T12:00:00+00:00","changed_at":"2026-03-01T12:00:00+00:00","looked_at":"2026-03-01T12:00:00+00:00","ended_at":null,"missing":false,"stuck":false,"own_changed":null,"own_ended":null,"baseline":false,"earlier_ends":{},"describe_owed":false,"earlier_ended":{}}','RUNNING','running',2,1772366400000000,1772366400000000,1772366460000000);
INSERT INTO "jobs" VALUES('panorama.package-import/prod/us-east-1/job-2','panorama.package-import','prod','us-east-1','job-2','{"job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-2"},"parts":{"Status":"PENDING"},"state":"PENDING","phase":"running","severity":"info","ending":"open","fields":{"JobType":"NODE_PACKAGE_VERSION"},"reason":null,"updated_at":null,"sequence":1,"first_seen_at":"2026-03-01T12:00:00+00:00","changed_at":"2026-03-01T12:00:00+00:00","looked_at":"2026-03-01T12:00:00+00:00","ended_at":null,"missing":false,"stuck":false,"own_changed":null,"own_ended":null,"baseline":false,"earlier_ends":{},"describe_owed":false,"earlier_ended":{}}','PENDING','running',1,1772366400000000,1772366400000000,1772366400000000);
INSERT INTO "jobs" VALUES('panorama.package-import/prod/us-east-1/job-3','panorama.package-import','prod','us-east-1','job-3','{"job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-3"},"parts":{"Status":"SUCCEEDED"},"state":"SUCCEEDED","phase":"succeeded","severity":"info","ending":"grace","fields":{"JobType":"NODE_PACKAGE_VERSION"},"reason":null,"updated_at":"2026-03-01T12:00:00+00:00","sequence":1,"first_seen_at":"2026-03-01T12:00:00+00:00","changed_at":"2026-03-01T12:00:00+00:00","looked_at":"2026-03-01T12:00:00+00:00","ended_at":"2026-03-01T12:00:00+00:00","missing":false,"stuck":false,"own_changed":"2026-03-01T12:00:00+00:00","own_ended":"2026-03-01T12:00:00+00:00","baseline":false,"earlier_ends":{},"describe_owed":false,"earlier_ended":{"failed":["2026-03-01T12:00:00+00:00","2026-03-01T11:59:59+00:00"]}}','SUCCEEDED','succeeded',1,1772366400000000,1772366400000000,1772366400000000);
CREATE TABLE ledger (
	ledger_id TEXT NOT NULL, 
	position BIGINT NOT NULL, 
	own_began BIGINT, 
	own_time BIGINT, 
	wall_time BIGINT, 
	PRIMARY KEY (ledger_id)
);
INSERT INTO "ledger" VALUES('f135ab63-9ed1-482d-8e9c-dd2740f5eb94',5,1772366400000000,1772366460000000,1772366460000000);
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
	CONSTRAINT transitions_key_sequence UNIQUE ("key", sequence), 
	CONSTRAINT transitions_event_id UNIQUE (event_id)
);
INSERT INTO "transitions" VALUES(1,'panorama.package-import/prod/us-east-1/job-1',1,'627c4cc6-bacf-569a-b03b-9a865c087c83','job.state_changed',1772366400000000,'{"specversion":"1.0","id":"627c4cc6-bacf-569a-b03b-9a865c087c83","source":"/aws/prod/us-east-1/panorama","subject":"job-1","type":"io.job-monitor.job.state_changed","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"job.state_changed","job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-1","key":"panorama.package-import/prod/us-east-1/job-1","labels":{"team":"vision"}},"sequence":1,"previous":null,"current":{"state":"PENDING","phase":"running"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
INSERT INTO "transitions" VALUES(2,'panorama.package-import/prod/us-east-1/job-1',2,'e4684409-50a2-5525-91bc-4e547d1cb7bc','job.state_changed',1772366400000000,'{"specversion":"1.0","id":"e4684409-50a2-5525-91bc-4e547d1cb7bc","source":"/aws/prod/us-east-1/panorama","subject":"job-1","type":"io.job-monitor.job.state_changed","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"job.state_changed","job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-1","key":"panorama.package-import/prod/us-east-1/job-1","labels":{"team":"vision"}},"sequence":2,"previous":null,"current":{"state":"PENDING","phase":"running"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
INSERT INTO "transitions" VALUES(3,'panorama.package-import/prod/us-east-1/job-2',1,'e358624a-bf0b-5b0b-bb66-f3f6494a6f5b','job.state_changed',1772366400000000,'{"specversion":"1.0","id":"e358624a-bf0b-5b0b-bb66-f3f6494a6f5b","source":"/aws/prod/us-east-1/panorama","subject":"job-2","type":"io.job-monitor.job.state_changed","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"job.state_changed","job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-2","key":"panorama.package-import/prod/us-east-1/job-2","labels":{"team":"vision"}},"sequence":1,"previous":null,"current":{"state":"PENDING","phase":"running"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
INSERT INTO "transitions" VALUES(4,'panorama.package-import/prod/us-east-1/job-3',1,'220d2a85-0952-59e3-bda8-2250fcb54ab4','job.state_changed',1772366400000000,'{"specversion":"1.0","id":"220d2a85-0952-59e3-bda8-2250fcb54ab4","source":"/aws/prod/us-east-1/panorama","subject":"job-3","type":"io.job-monitor.job.state_changed","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"job.state_changed","job":{"type":"panorama.package-import","account":"prod","region":"us-east-1","id":"job-3","key":"panorama.package-import/prod/us-east-1/job-3","labels":{"team":"vision"}},"sequence":1,"previous":null,"current":{"state":"PENDING","phase":"running"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
INSERT INTO "transitions" VALUES(5,'source:panorama/prod/us-east-1',1,'4b33e2c4-5210-53a0-9911-c20479baab97','source.unavailable',1772366400000000,'{"specversion":"1.0","id":"4b33e2c4-5210-53a0-9911-c20479baab97","source":"/aws/prod/us-east-1/panorama","subject":"panorama","type":"io.job-monitor.source.unavailable","time":"2026-03-01T12:00:00.000Z","datacontenttype":"application/json","data":{"kind":"source.unavailable","source":{"service":"panorama","account":"prod","region":"us-east-1","key":"source:panorama/prod/us-east-1"},"sequence":1,"previous":{"state":"available"},"current":{"state":"unavailable"},"changes":[],"window":{"after":null,"before":"2026-03-01T12:00:00.000Z"},"severity":"info","reason":null,"baseline":false,"occurred_at":null,"fields":{},"replayed":false}}',1772366400000000);
CREATE TABLE watches (
	name TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	added_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "watches" VALUES('night','{"type":"panorama.package-import","account":"prod","regions":["us-east-1"]}',1772366400000000);
CREATE INDEX transitions_own_recorded ON transitions (own_recorded);
CREATE INDEX transitions_observed_at ON transitions (observed_at);
CREATE INDEX deliveries_line ON deliveries (sink, "key", id, own_created, status) WHERE status = 'pending';
CREATE INDEX deliveries_dead ON deliveries (sink, id) WHERE status = 'dead';
CREATE INDEX deliveries_first ON deliveries (sink, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_tried ON deliveries (sink, own_created, last_error, status, attempts) WHERE status = 'pending' AND attempts > 0;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('deliveries',7);
COMMIT;
