using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Claims the key of a request to open an artifact in the shell. Nothing else of it is recorded: a shell that is told, or not, is no fact of the log.</summary>
public sealed record OpenArtifact(ArtifactKey Artifact, RequestKey Header) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await work.State(Domain.Artifact.Aggregate, Artifact) is Domain.Artifact.None
            ? Refusal.NotFound("artifact")
            : await Header.Claim(work, Domain.Artifact.Aggregate, Artifact);
}
