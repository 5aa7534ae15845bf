BEGIN TRANSACTION;
CREATE TABLE lambda_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT lambda_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "lambda_alembic_version" VALUES('0006');
CREATE TABLE lambda_architectures (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	trial INTEGER NOT NULL, 
	removed TEXT NOT NULL, 
	removed_count INTEGER NOT NULL, 
	weights TEXT, stopped TEXT, score DOUBLE, elapsed_s DOUBLE, run_id INTEGER REFERENCES lambda_runs (id), 
	PRIMARY KEY (id), 
	UNIQUE (study_id, removed), 
	UNIQUE (study_id, trial), 
	FOREIGN KEY(study_id) REFERENCES lambda_studies (id)
);
INSERT INTO "lambda_architectures" VALUES(1,1,0,'1',1,'/weights/0',NULL,NULL,NULL,NULL);
INSERT INTO "lambda_architectures" VALUES(2,1,1,'0,2',2,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "lambda_architectures" VALUES(3,1,5,'1,2',2,NULL,'rung 0: 12.5%, at most 20.0% expected at the end, can''t reach the front: trial 1 {0,2} has 25.0%',NULL,NULL,NULL);
INSERT INTO "lambda_architectures" VALUES(4,1,6,'0,1',2,NULL,'rung 0: hopeless',0.5,12.5,1);
CREATE TABLE lambda_claims (
	study_id INTEGER NOT NULL, 
	removed VARCHAR(255) NOT NULL, 
	trial INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	PRIMARY KEY (study_id, removed), 
	FOREIGN KEY(study_id) REFERENCES lambda_studies (id), 
	FOREIGN KEY(run_id) REFERENCES lambda_runs (id)
);
INSERT INTO "lambda_claims" VALUES(1,'2',7,1);
CREATE TABLE lambda_fronts (
	architecture_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	PRIMARY KEY (architecture_id), 
	FOREIGN KEY(architecture_id) REFERENCES lambda_architectures (id), 
	FOREIGN KEY(study_id) REFERENCES lambda_studies (id)
);
INSERT INTO "lambda_fronts" VALUES(1,1);
INSERT INTO "lambda_fronts" VALUES(2,1);
CREATE TABLE lambda_measurements (
	id INTEGER NOT NULL, 
	architecture_id INTEGER NOT NULL, 
	rung INTEGER NOT NULL, 
	accuracy DOUBLE NOT NULL, 
	seconds DOUBLE NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (architecture_id, rung), 
	FOREIGN KEY(architecture_id) REFERENCES lambda_architectures (id)
);
INSERT INTO "lambda_measurements" VALUES(1,1,0,0.5,1.0);
INSERT INTO "lambda_measurements" VALUES(2,1,1,0.625,2.0);
INSERT INTO "lambda_measurements" VALUES(3,2,0,0.25,1.0);
INSERT INTO "lambda_measurements" VALUES(4,3,0,0.125,1.0);
INSERT INTO "lambda_measurements" VALUES(5,4,0,0.125,1.0);
CREATE TABLE lambda_priors (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	content JSON NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (study_id), 
	FOREIGN KEY(study_id) REFERENCES lambda_studies (id)
);
INSERT INTO "lambda_priors" VALUES(1,1,'{"path": [[1]]}');
CREATE TABLE lambda_runs (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	machine VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	device TEXT NOT NULL, 
	model_fingerprint VARCHAR(64) NOT NULL, 
	data_fingerprint VARCHAR(64) NOT NULL, 
	versions JSON NOT NULL, 
	seed INTEGER NOT NULL, 
	workers INTEGER NOT NULL, 
	command TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	beats BIGINT NOT NULL, 
	seconds DOUBLE NOT NULL, 
	ended BOOLEAN NOT NULL, 
	spent JSON NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(study_id) REFERENCES lambda_studies (id)
);
INSERT INTO "lambda_runs" VALUES(1,1,'host 1',4711,'a CPU','m1','d1','{"torch": "2.15"}',7,2,'lambda-nas search','2026-11-25 02:50:50.656829',1,13.5,0,'{"Measuring the prior": 2.5}');
CREATE TABLE lambda_signatures (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	signature VARCHAR(255) NOT NULL, 
	throughput DOUBLE NOT NULL, 
	speedup DOUBLE NOT NULL, 
	latency_ms DOUBLE NOT NULL, 
	memory_bytes BIGINT NOT NULL, 
	params BIGINT NOT NULL, 
	macs BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (study_id, signature), 
	FOREIGN KEY(study_id) REFERENCES lambda_studies (id)
);
INSERT INTO "lambda_signatures" VALUES(1,1,'0',100.0,1.0,320.0,40000000,5000000,1000000);
INSERT INTO "lambda_signatures" VALUES(2,1,'1',101.0,1.25,320.0,39999999,4999999,999999);
INSERT INTO "lambda_signatures" VALUES(3,1,'2',102.0,1.5,320.0,39999998,4999998,999998);
CREATE TABLE lambda_studies (
	id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	model TEXT NOT NULL, 
	model_fingerprint VARCHAR(64) NOT NULL, 
	data TEXT NOT NULL, 
	data_fingerprint VARCHAR(64) NOT NULL, 
	device TEXT NOT NULL, 
	layers JSON NOT NULL, 
	seed INTEGER NOT NULL, 
	baseline_accuracy DOUBLE NOT NULL, 
	settings JSON NOT NULL, 
	created_at DATETIME NOT NULL, stages JSON, merged JSON, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "lambda_studies" VALUES(1,'old','deit','m1','images','d1','a CPU','[0, 1, 2]',7,0.75,'{"max_removed": 2}','2026-11-24 02:56:16.762712',NULL,NULL);
CREATE INDEX ix_lambda_fronts_study_id ON lambda_fronts (study_id);
CREATE INDEX ix_lambda_runs_study_id ON lambda_runs (study_id);
CREATE INDEX ix_lambda_claims_run_id ON lambda_claims (run_id);
COMMIT;
