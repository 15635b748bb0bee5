BEGIN TRANSACTION;
CREATE TABLE "applied_segments" (
   "uuid" TEXT PRIMARY KEY,
   "number" INTEGER,
   "applied_at" TEXT
);
INSERT INTO "applied_segments" VALUES('0b3bddbd-5b6d-4b68-953c-6524ac7bc3ca',2,'2026-11-30T00:27:02Z');
CREATE TABLE "generations" (
   "id" INTEGER PRIMARY KEY,
   "sources" TEXT
);
INSERT INTO "generations" VALUES(1,'GeoLite2-City@1780000000, rir@3.3.170');
INSERT INTO "generations" VALUES(2,'GeoLite2-City@1780000000, rir@3.3.170, ip-api');
CREATE TABLE "geo_cache" (
   "ip" TEXT PRIMARY KEY,
   "status" TEXT NOT NULL,
   "scope" TEXT,
   "country_code" TEXT,
   "country_name" TEXT,
   "region" TEXT,
   "city" TEXT,
   "postal_code" TEXT,
   "latitude" REAL,
   "longitude" REAL,
   "time_zone" TEXT,
   "asn" INTEGER,
   "org" TEXT,
   "source" TEXT,
   "prefix_len" INTEGER,
   "built_at" TEXT,
   "resolved_at" TEXT,
   "retry_at" TEXT
, "generation" INTEGER, "traits" TEXT, "segment" INTEGER, "tried_segment" INTEGER);
INSERT INTO "geo_cache" VALUES('10.0.0.1','special','private',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'iana',NULL,NULL,'2026-11-30T00:27:01Z',NULL,1,NULL,1,1);
INSERT INTO "geo_cache" VALUES('81.2.69.160','resolved',NULL,'GB','United Kingdom','England','London','EC1A',51.5142,-0.0931,'Europe/London',NULL,NULL,'GeoLite2-City',24,'2026-05-28T20:26:40Z','2026-11-30T00:27:01Z',NULL,1,'{"continent_code": "EU", "continent_name": "Europe", "region_code": "ENG", "accuracy_radius": 100}',1,1);
INSERT INTO "geo_cache" VALUES('2001:218::1','resolved',NULL,'JP','Japan',NULL,'Tokyo',NULL,35.68,139.75,'Asia/Tokyo',NULL,NULL,'GeoLite2-City',32,'2026-05-28T20:26:40Z','2026-11-30T00:27:02Z',NULL,1,NULL,2,2);
INSERT INTO "geo_cache" VALUES('2d00::2','resolved',NULL,'NL','Netherlands','North Holland','Amsterdam','1012',52.37,4.9,'Europe/Amsterdam',64500,'Example BV','ip-api',NULL,NULL,'2026-11-30T00:27:02Z','2027-12-01T00:27:02Z',2,'{"isp": "Example BV", "organization": "Example"}',2,2);
INSERT INTO "geo_cache" VALUES('5.5.5.5','resolved',NULL,'DE','Germany',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'rir',NULL,NULL,'2026-11-30T00:27:02Z',NULL,1,NULL,2,2);
INSERT INTO "geo_cache" VALUES('2d00::1','unresolved',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-30T00:27:02Z','2026-11-30T01:27:02Z',1,NULL,2,2);
CREATE TABLE "last_flush" (
   "id" INTEGER PRIMARY KEY,
   "finished_at" TEXT,
   "entries" INTEGER,
   "duration_seconds" REAL
);
INSERT INTO "last_flush" VALUES(1,'2026-11-30T00:27:02Z',4,0.001068);
CREATE TABLE "source_files" (
   "path" TEXT PRIMARY KEY,
   "inode" INTEGER,
   "size" INTEGER,
   "mtime_ns" INTEGER,
   "source" TEXT
);
INSERT INTO "source_files" VALUES('/usr/share/GeoIP/GeoLite2-City.mmdb',2262713,1737,1795998375849357044,'GeoLite2-City@1780000000');
CREATE INDEX geo_cache_retry_at ON geo_cache(retry_at) WHERE retry_at IS NOT NULL;
CREATE UNIQUE INDEX "idx_generations_sources"
    ON "generations" ("sources");
CREATE INDEX geo_cache_generation ON geo_cache(generation);
COMMIT;
PRAGMA user_version = 4;
