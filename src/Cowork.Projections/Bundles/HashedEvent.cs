using System.Globalization;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>
/// An event of a bundle whose hash is that of its content. What it says is not read. Of an event with a member that no reader sees the hash is what the bundle says: it ties
/// the event before it to the one behind it, and nothing ties it to the rest of its content. So it is with an event whose data expired.
/// </summary>
/// <param name="Previous">The hash of the event before it in its stream, as the bundle says.</param>
readonly record struct HashedEvent(
    string Org, string Stream, long Version, Guid Id, string Type, DateTimeOffset At, string Actor, string Hash, string Previous, long Position, string? Correlation,
    bool IsExpired = false)
{
    /// <summary>Optional: some events have no trace.</summary>
    const string CorrelationMember = "correlation_id";

    /// <summary>Optional: the name of the member that was left out of the data.</summary>
    const string WithheldMember = "withheld";

    /// <summary>Checks an event by itself: its members, their form, and its hash.</summary>
    /// <param name="at">Its place.</param>
    /// <param name="members">The members that it must have. It may have <c>correlation_id</c>, <c>withheld</c> and <c>content_key</c> too.</param>
    /// <param name="mayExpire">True for a stream whose events may have tombstones in place of their data.</param>
    public static HashedEvent Check(string at, JsonElement e, string[] members, Func<string, bool> mayExpire)
    {
        Object(e, at);
        var hasCorrelation = e.TryGetProperty(CorrelationMember, out _);
        var isWithheld = e.TryGetProperty(WithheldMember, out _);
        var hasKey = e.TryGetProperty(BundledContents.Member, out _);
        List<string> all = [.. members];
        if (hasKey)
        {
            all.Add(BundledContents.Member);
        }
        if (hasCorrelation)
        {
            all.Add(CorrelationMember);
        }
        if (isWithheld)
        {
            all.Add(WithheldMember);
        }
        RequireMembers(e, at, hasCorrelation || isWithheld || hasKey ? all : members);
        var correlation = hasCorrelation ? Text(e, CorrelationMember, at) : null;
        Require(correlation != "", $"{at}.{CorrelationMember}", "It is empty.");
        var (org, stream, type, actor) = (Text(e, "tenant_id", at), Text(e, "stream_id", at), Text(e, "type", at), Text(e, "actor", at));
        var (version, hash, previous) = (Number(e, "version", at), Text(e, "hash", at), Text(e, "prev_hash", at));
        var id = Guid.TryParseExact(Text(e, "id", at), "D", out var parsed) ? parsed : throw Fault($"{at}.id", "It is not an event id.");
        var ts = DateTimeOffset.TryParseExact(
            Text(e, "ts", at), "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time)
            ? time
            : throw Fault($"{at}.ts", "It is not a timestamp.");
        Require(previous.Length == 64 && previous.All(char.IsAsciiHexDigitLower), $"{at}.prev_hash", "It is not a hash.");
        var data = Member(e, "data", at);
        if (isWithheld)
        {
            var hidden = HiddenMembers.Of(type);
            Require(hidden is not null && Text(e, WithheldMember, at) == hidden, $"{at}.{WithheldMember}", "No such member of this type of event is left out.");
            Require(!Object(data, $"{at}.data").TryGetProperty(hidden!, out _), $"{at}.data", $"It has {hidden}, which is said to be left out.");
            Require(hash.Length == 64 && hash.All(char.IsAsciiHexDigitLower), $"{at}.hash", "It is not a hash.");
        }
        var isExpired = Tombstones.Is(Bytes(data)) && mayExpire(stream);
        if (isExpired)
        {
            Require(hash.Length == 64 && hash.All(char.IsAsciiHexDigitLower), $"{at}.hash", "It is not a hash.");
            try
            {
                Tombstones.Read(Bytes(data), ts);
            }
            catch (JsonException wrong)
            {
                throw Fault($"{at}.data", wrong.Message);
            }
        }
        var computed = isWithheld || isExpired ? hash : HashChain.Next(previous, org, stream, version, id, type, ts, actor, Bytes(data));
        Require(
            computed == hash, at,
            $"Event {version} of {Quoted(stream)} ({Quoted(type)}) does not have the hash {Quoted(hash)}: its content, its predecessor or the hash was changed.");
        Require(version >= 1, $"{at}.version", "Versions begin at 1.");
        Require(version > 1 || previous == HashChain.Root, $"{at}.prev_hash", "Version 1 must have a previous hash of zeros.");
        return new(org, stream, version, id, type, ts, actor, hash, previous, Number(e, "gid", at), correlation, isExpired);
    }
}
