-- What each worker says, with its heartbeat, about the services it calls: name → breaker, calls in flight, limit (S37).
ALTER TABLE workers ADD COLUMN services jsonb NOT NULL DEFAULT '{}';
ALTER TABLE workers ADD CONSTRAINT workers_services_is_object CHECK (jsonb_typeof(services) = 'object');
