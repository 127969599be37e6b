using Xunit;

using static Cowork.Domain.MemoryCommand;
using static Cowork.Domain.MemoryEvent;

namespace Cowork.Domain.Tests;

public sealed class MemorySpec
{
    static readonly MemoryKey Id = MemoryKey.FromId("mem_01kdvkjr000000000000000007");
    static readonly Content Text = Content.Of("Prefers tables.");
    static readonly Content Other = Content.Of("Prefers lists.");

    static readonly Spec<MemoryKey, MemoryCommand, MemoryEvent, Memory> Memories = new(Memory.Aggregate);
    static readonly MemoryCreated Created = new(Id, Text, A.Project, A.Morning);
    static readonly MemoryWritten Written = new(Id, Memory.Fact, Text, A.Session, A.Run, A.Morning, Project: A.Project);
    static readonly MemoryChanged Changed = new(Other, A.Morning);
    static readonly MemoryDeleted Deleted = new(A.Morning);
    static readonly Write ByAgent = new(Id, Memory.Fact, Text, A.Session, A.Run, A.Morning, Project: A.Project);

    [Fact]
    public void A_fact_is_stated_changed_and_deleted_by_a_user()
    {
        Memories.Given().When(new Create(Id, Text, A.Project, A.Morning)).Then(Created);
        Memories.Given(Created).When(new Change(Other, A.Morning)).Then(Changed);
        Memories.Given(Created, Changed).When(new Delete(A.Morning)).Then(Deleted);
        Memories.Given(Created).When(new Create(Id, Text, A.Project, A.Morning)).ThenNothing();
        Memories.Given(Created, Changed).When(new Change(Other, A.Morning)).ThenNothing();
    }

    [Fact]
    public void What_the_agent_remembered_is_changed_and_deleted_too_and_a_repeated_call_does_not_bring_it_back()
    {
        Memories.Given().When(ByAgent).Then(Written);
        Memories.Given(Written).When(ByAgent).ThenNothing();
        Memories.Given(Written).When(ByAgent with { Text = Other }).Then(Written with { Text = Other });
        Memories.Given(Written, Changed).When(ByAgent).ThenNothing();
        Memories.Given(Written, Deleted).When(ByAgent).ThenNothing();
    }

    [Theory]
    [InlineData("session_summary")]
    [InlineData("learning")]
    public void Notes_of_runs_are_no_facts(string kind)
    {
        Memories.Given(Written with { Kind = kind }).When(new Change(Other, A.Morning)).ThenRefused("not_found");
        Memories.Given(Written with { Kind = kind }).When(new Delete(A.Morning)).ThenRefused("not_found");
    }

    [Fact]
    public void What_is_not_there_or_was_deleted_is_not_found()
    {
        foreach (var given in (MemoryEvent[][])[[], [Created, Deleted]])
        {
            Memories.Given(given).When(new Change(Other, A.Morning)).ThenRefused("not_found");
            Memories.Given(given).When(new Delete(A.Morning)).ThenRefused("not_found");
        }
        Memories.Given(Created, Deleted).When(new Create(Id, Text, A.Project, A.Morning)).ThenRefused("not_found");
    }
}
