-- How a key's calls are handled: its share and priority under saturation, its routing, whether it may ask for explanations.
ALTER TABLE keys ADD COLUMN share INTEGER NOT NULL DEFAULT 1 CHECK (share BETWEEN 1 AND 100);
ALTER TABLE keys ADD COLUMN max_priority TEXT NOT NULL DEFAULT 'normal';
ALTER TABLE keys ADD COLUMN routing TEXT;
ALTER TABLE keys ADD COLUMN explain INTEGER NOT NULL DEFAULT 0 CHECK (explain IN (0, 1));
