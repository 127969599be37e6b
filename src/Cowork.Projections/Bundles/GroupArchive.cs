using System.Buffers;
using System.Runtime.CompilerServices;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// The archive of a group: one file in canonical form (RFC 8785) with the whole conversation as its members saw it, its members and agents, and every event of its feed with
/// the stored data and the hash that chains it (docs/groups.md, "The archive"). It is a function of the log up to the end of the last run, so that every host writes the same
/// bytes. It is made piece by piece: what it takes of memory does not grow with the conversation.
/// </summary>
public sealed class GroupArchive(IEventLog log, GroupFeed feed, IBlobs blobs)
{
    public const string Format = "cowork-group-archive/1";

    const int PageMax = 500;

    /// <summary>Bytes that are collected before they are written.</summary>
    const int WrittenAtBytes = 64 * 1024;

    /// <inheritdoc cref="WriteGroupArchive"/>
    /// <exception cref="InvalidOperationException">Nobody has asked for the archive.</exception>
    public async Task Write(string org, GroupKey key, Stream to, CancellationToken ct)
    {
        var (group, created, request) = await Closed(org, key, ct);
        using var json = new CanonicalWriter(to);
        var digests = new SortedSet<string>(StringComparer.Ordinal);

        // The members stand in the order that RFC 8785 sorts them into.
        json.Raw("{\"agents\":"u8);
        json.Value(writer => JsonSerializer.Serialize(writer, group.Agents, BundleJson.Default.IReadOnlyListString));
        json.Raw(",\"archive_requested_at\":"u8);
        json.Value(writer => writer.WriteStringValue(HashChain.Timestamp(request.At)));
        json.Raw(",\"archive_requested_by\":"u8);
        json.Value(writer => writer.WriteStringValue(request.By));
        json.Raw(",\"created_at\":"u8);
        json.Value(writer => writer.WriteStringValue(HashChain.Timestamp(created)));
        json.Raw(",\"created_by\":"u8);
        json.Value(writer => writer.WriteStringValue(group.CreatedBy));

        json.Raw(",\"events\":["u8);
        var isFirst = true;
        var last = 0L;
        await foreach (var entry in Conversation(org, key, ct))
        {
            json.Raw(isFirst ? ""u8 : ","u8);
            isFirst = false;
            last = entry.FeedId;
            TraceBundle.FindBlobs(JsonElement.Parse(entry.Open().Span), digests);
            json.Value(writer => Write(writer, entry));
            await json.Flush(WrittenAtBytes, ct);
        }

        json.Raw("],\"feed_through\":"u8);
        json.Value(writer => writer.WriteNumberValue(last));
        json.Raw(",\"format\":"u8);
        json.Value(writer => writer.WriteStringValue(Format));
        json.Raw(",\"group_id\":"u8);
        json.Value(writer => writer.WriteStringValue(key.Id));
        json.Raw(",\"is_private\":"u8);
        json.Value(writer => writer.WriteBooleanValue(group.IsPrivate));
        json.Raw(",\"members\":["u8);
        foreach (var (place, member) in group.Members.Index())
        {
            json.Raw(place == 0 ? ""u8 : ","u8);
            json.Value(writer =>
            {
                writer.WriteStartObject();
                writer.WriteString("user_id", member.User);
                writer.WriteString("role", member.Role == GroupRole.Admin ? "admin" : "member");
                writer.WriteString("joined_at", HashChain.Timestamp(member.Joined));
                writer.WriteEndObject();
            });
        }
        json.Raw("],\"messages\":["u8);
        isFirst = true;
        await foreach (var message in Messages(org, key, await feed.SeqOf(org, key, last, ct), ct))
        {
            json.Raw(isFirst ? ""u8 : ","u8);
            isFirst = false;
            json.Value(message.Json.Span);
            await json.Flush(WrittenAtBytes, ct);
        }
        json.Raw("],\"org_id\":"u8);
        json.Value(writer => writer.WriteStringValue(group.Org));
        json.Raw(",\"reason\":"u8);
        var reason = request.Reason is { } given ? await blobs.Text(given, ct) : null;
        json.Value(writer => writer.WriteStringValue(reason));
        json.Raw(",\"session_id\":"u8);
        json.Value(writer => writer.WriteStringValue(key.Session.Id));
        json.Raw(",\"texts\":["u8);
        isFirst = true;
        foreach (var sha256 in digests)
        {
            var bytes = await blobs.Get(sha256, ct) ?? throw new InvalidDataException($"The blob {sha256} is missing.");
            json.Raw(isFirst ? ""u8 : ","u8);
            isFirst = false;
            json.Value(writer =>
            {
                writer.WriteStartObject();
                writer.WriteString("sha256", sha256);
                writer.WriteNumber("bytes", bytes.Length);
                writer.WriteBase64String("base64", bytes);
                writer.WriteEndObject();
            });
            await json.Flush(WrittenAtBytes, ct);
        }
        json.Raw("],\"title\":"u8);
        var title = await blobs.Text(group.Title, ct);
        json.Value(writer => writer.WriteStringValue(title));
        json.Raw("}"u8);
        await json.Flush(0, ct);
    }

    /// <summary>The group as it was when its archive was asked for.</summary>
    async ValueTask<(Group.Live Group, DateTimeOffset Created, GroupEvent.GroupArchiveRequested Request)> Closed(string org, GroupKey key, CancellationToken ct)
    {
        Group group = new Group.None();
        DateTimeOffset created = default;
        for (var after = 0L; ;)
        {
            var page = await log.Load(org, Group.Aggregate.Stream(key), after, PageMax, ct);
            foreach (var e in page.Events)
            {
                switch (e.Event)
                {
                    case GroupEvent.GroupArchiveRequested request:
                        return ((Group.Live)group, created, request);
                    case GroupEvent.GroupCreated:
                        created = e.At;
                        break;
                }
                group = Group.Evolve(group, (GroupEvent)e.Event);
            }
            after = page.Events.Count > 0 ? page.Version : throw new InvalidOperationException($"Nobody has asked for the archive of {key}.");
        }
    }

    async IAsyncEnumerable<GroupMessage> Messages(string org, GroupKey key, long through, [EnumeratorCancellation] CancellationToken ct)
    {
        for (var last = 0L; last < through;)
        {
            foreach (var message in (await feed.Page(org, key, last, PageMax, PageBytes.Max, through, ct)).Messages)
            {
                last = message.Seq;
                yield return message;
            }
        }
    }

    /// <summary>The feed up to the commit with which, after the group was closed, its last run has ended.</summary>
    async IAsyncEnumerable<FeedEntry> Conversation(string org, GroupKey key, [EnumeratorCancellation] CancellationToken ct)
    {
        var live = new HashSet<RunKey>();
        var (isClosed, last) = (false, 0L);
        DateTimeOffset? end = null;
        while (await log.Feed(org, key.Session, last, PageMax, ct) is { Entries: [_, ..] page })
        {
            foreach (var entry in page)
            {
                if (end is { } over && entry.At != over)
                {
                    yield break;
                }
                last = entry.FeedId;
                switch (EventTypes.TypeOf(entry.Type) is { } type && (type.IsSubclassOf(typeof(SessionEvent)) || type.IsSubclassOf(typeof(GroupEvent)))
                    ? entry.Read() : null)
                {
                    case SessionEvent.RunQueued queued:
                        live.Add(queued.RunId);
                        break;
                    case SessionEvent.RunDequeued dequeued:
                        live.Remove(dequeued.RunId);
                        break;
                    case GroupEvent.GroupArchiveRequested:
                        isClosed = true;
                        break;
                }
                end = isClosed && live.Count == 0 ? entry.At : null;
                yield return entry;
            }
        }
    }

    static void Write(Utf8JsonWriter writer, FeedEntry entry)
    {
        writer.WriteStartObject();
        writer.WriteNumber("feed_id", entry.FeedId);
        writer.WriteNumber("gid", entry.Position);
        writer.WriteString("tenant_id", entry.Org);
        writer.WriteString("stream_id", entry.Stream);
        writer.WriteNumber("version", entry.Version);
        writer.WriteString("id", entry.Id);
        writer.WriteString("type", entry.Type);
        writer.WriteString("ts", HashChain.Timestamp(entry.At));
        writer.WriteString("actor", entry.Actor);
        writer.WritePropertyName("data");
        writer.WriteRawValue(entry.Data.Span);
        writer.WriteString("hash", entry.Hash);
        writer.WriteString("run_id", entry.Run?.Id);
        writer.WriteEndObject();
    }

    /// <summary>Collects JSON in canonical form and writes it on.</summary>
    sealed class CanonicalWriter(Stream to) : IDisposable
    {
        readonly PooledBuffer collected = new(2 * WrittenAtBytes);

        public void Raw(ReadOnlySpan<byte> json) => collected.Write(json);

        public void Value(Action<Utf8JsonWriter> write)
        {
            var json = new ArrayBufferWriter<byte>();
            using (var writer = new Utf8JsonWriter(json))
            {
                write(writer);
            }
            Value(json.WrittenSpan);
        }

        public void Value(ReadOnlySpan<byte> json) => CanonicalJson.Write(collected, json);

        /// <summary>Writes what is collected when that is more than so many bytes.</summary>
        public async ValueTask Flush(int moreThan, CancellationToken ct)
        {
            if (collected.Length > moreThan)
            {
                await to.WriteAsync(collected.Written.ToArray(), ct);
                collected.Clear();
            }
        }

        public void Dispose() => collected.Dispose();
    }
}
