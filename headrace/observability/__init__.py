"""What operators look at, generated from the table of metrics: a dashboard and a page of docs."""
