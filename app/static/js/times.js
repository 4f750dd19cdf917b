// The exact time on hover in the reader's own zone; the server can only say it in UTC.

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

for (const time of document.querySelectorAll("time[datetime*='T']")) time.title = exact.format(new Date(time.dateTime));
