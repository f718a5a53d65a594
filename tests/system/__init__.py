"""System tests: the installed `router` command, the CleverTap sandbox and real clients, each as a process."""
