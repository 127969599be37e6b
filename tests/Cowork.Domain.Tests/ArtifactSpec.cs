using Xunit;

using static Cowork.Domain.ArtifactCommand;
using static Cowork.Domain.ArtifactEvent;

namespace Cowork.Domain.Tests;

public sealed class ArtifactSpec
{
    static readonly Spec<ArtifactKey, ArtifactCommand, ArtifactEvent, Artifact> Spec = new(Artifact.Aggregate);

    static Discover Discover(RunKey run, char content) => new(A.Artifact, A.Session, run, ".anton/output/r.md", new(content, 64), 5, "text/markdown", A.Morning);

    static ArtifactDiscovered Discovered(RunKey run, char content, int version) =>
        new(A.Artifact, A.Session, run, ".anton/output/r.md", new(content, 64), 5, version, "text/markdown", A.Morning);

    [Fact]
    public void A_new_content_is_a_new_version()
    {
        Spec.Given().When(Discover(A.Run, 'a')).Then(Discovered(A.Run, 'a', 1));
        Spec.Given(Discovered(A.Run, 'a', 1)).When(Discover(A.Run, 'b')).Then(Discovered(A.Run, 'b', 2));
        Spec.Given(Discovered(A.Run, 'a', 1), Discovered(A.Run, 'b', 2)).When(Discover(A.OtherRun, 'a')).Then(Discovered(A.OtherRun, 'a', 3));
    }

    [Fact]
    public void The_same_content_is_found_once_in_a_run() => Spec.Given(Discovered(A.Run, 'a', 1)).When(Discover(A.Run, 'a')).ThenNothing();

    [Fact]
    public void The_same_content_written_by_a_later_run_is_the_same_version_there() =>
        Spec.Given(Discovered(A.Run, 'a', 1)).When(Discover(A.OtherRun, 'a')).Then(Discovered(A.OtherRun, 'a', 1));

    [Fact]
    public void Each_path_of_each_session_is_one_artifact()
    {
        Assert.Equal(Artifact.KeyOf(new("s"), "a"), Artifact.KeyOf(new("s"), "a"));
        Assert.NotEqual(Artifact.KeyOf(new("s"), "a"), Artifact.KeyOf(new("s"), "b"));
        Assert.NotEqual(Artifact.KeyOf(new("s"), "a"), Artifact.KeyOf(new("t"), "a"));
        Assert.True(Ids.IsKey(Artifact.KeyOf(new("s"), "a").Value));
    }
}
