using System.Threading.Channels;

using Cowork.Application.Storage;

namespace Cowork.Testing;

/// <summary>Keeps the jobs that a node gets for a test that does them itself.</summary>
public sealed class ClaimQueue : IJobDispatcher
{
    readonly Channel<Claim> claims = Channel.CreateUnbounded<Claim>();

    public ChannelReader<Claim> Claims => claims.Reader;

    public bool Dispatch(Claim claim) => claims.Writer.TryWrite(claim);
}
