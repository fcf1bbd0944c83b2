"""Heights by an atomic force microscope: poses searched, the tip estimated, modes learned."""
