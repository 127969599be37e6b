using System.Net;

using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>The event streams and WebSockets that are open at this host, counted whole, by address, by token or member, and by tenant.</summary>
public sealed class OpenStreams(TenantQuotas quotas, HttpLimits limits, OpenConnections connections)
{
    readonly Lock gate = new();
    readonly Dictionary<string, int> ofAddress = [];
    readonly Dictionary<TokenKey, int> ofToken = [];
    readonly Dictionary<(string Org, string User), int> ofMember = [];
    readonly Dictionary<string, int> ofTenant = [];

    /// <summary>Streams that are open.</summary>
    public int Count { get; private set; }

    /// <summary>The most that may be open.</summary>
    public int Max => (int)Math.Min(limits.Streams, connections.Max * 4L / 5);

    /// <summary>Streams that were refused since the host's start.</summary>
    public long Refused { get; private set; }

    /// <summary>Streams of the tenant that are open.</summary>
    public int Of(string org)
    {
        lock (gate)
        {
            return ofTenant.GetValueOrDefault(org);
        }
    }

    /// <summary>Counts one more until the answer is disposed, or refuses it.</summary>
    /// <param name="member">The user whose WebSocket it is; null: it is an event stream.</param>
    public (Place? Stream, ErrorResult? Refused) Open(Caller caller, IPAddress? from, string? member = null)
    {
        var address = Networks.Place(from);
        lock (gate)
        {
            var refusal = Count >= Max ? Full("streams_full", $"This host has {Max} event streams open")
                : ofAddress.GetValueOrDefault(address) >= limits.StreamsPerAddress
                    ? Full("address_streams_full", $"Your address has {limits.StreamsPerAddress} event streams open here")
                : caller.Token is { } sent && ofToken.GetValueOrDefault(sent) >= limits.StreamsPerToken
                    ? Full("token_streams_full", $"The token has {limits.StreamsPerToken} event streams open here")
                : member is not null && ofMember.GetValueOrDefault((caller.Org, member)) >= limits.SocketsPerMember
                    ? Full("member_sockets_full", $"You have {limits.SocketsPerMember} WebSockets open here")
                : ofTenant.GetValueOrDefault(caller.Org) >= quotas.Of(caller.Org).Streams
                    ? Full("tenant_streams_full", $"The tenant has {quotas.Of(caller.Org).Streams} event streams open here")
                : null;
            if (refusal is not null)
            {
                Refused++;
                return (null, refusal);
            }
            Count++;
            Add(ofAddress, address, 1);
            Add(ofTenant, caller.Org, 1);
            if (caller.Token is { } token)
            {
                Add(ofToken, token, 1);
            }
            if (member is not null)
            {
                Add(ofMember, (caller.Org, member), 1);
            }
        }
        return (new Place(() => Close(caller, address, member)), null);
    }

    void Close(Caller caller, string address, string? member)
    {
        lock (gate)
        {
            Count--;
            Add(ofAddress, address, -1);
            Add(ofTenant, caller.Org, -1);
            if (caller.Token is { } token)
            {
                Add(ofToken, token, -1);
            }
            if (member is not null)
            {
                Add(ofMember, (caller.Org, member), -1);
            }
        }
    }

    static ErrorResult Full(string code, string what) => new(429, code, $"{what}, and may not have more. Close some, or poll.") { RetryAfter = 5 };

    static void Add<TKey>(Dictionary<TKey, int> counts, TKey key, int by)
        where TKey : notnull
    {
        var count = counts.GetValueOrDefault(key) + by;
        if (count == 0)
        {
            counts.Remove(key);
        }
        else
        {
            counts[key] = count;
        }
    }

    /// <summary>The place of one stream: nothing is streamed without one.</summary>
    public sealed class Place : IDisposable
    {
        readonly Action close;
        int isClosed;

        internal Place(Action close) => this.close = close;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref isClosed, 1) == 0)
            {
                close();
            }
        }
    }
}
