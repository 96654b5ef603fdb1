"""Parts of pods and clusters that the settings' ``kubernetes`` section decides. Pure."""
