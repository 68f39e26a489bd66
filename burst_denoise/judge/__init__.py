"""Methods and bursts become honest numbers and figures."""
